"""How transforms are applied to a batch."""

import copy
import inspect
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_any, tree_map
from torchvision import tv_tensors
from torchvision.transforms import v2

from trainworks.errors import UsageError


def apply_transforms(transforms: Sequence[nn.Module], batch: Any) -> Any:
    """Return a whole batch, transformed, as plain tensors; masks and boxes are transformed together with the images.

    A batch is (inputs, targets), inputs alone, or anything else that the transforms take. Loaders and copies to a
    device lose the type of a tv_tensor. It is restored: integer targets with the height and width of the images are
    masks, "boxes" (as XYXY) and "masks" of a target dictionary are what their names say.
    """
    if not transforms:
        return batch
    inputs_only = not isinstance(batch, tuple | list)
    parts: Any = (batch,) if inputs_only else _typed(*batch) if len(batch) == 2 else batch
    for transform in transforms:
        if not inputs_only and _takes_images_alone(type(transform)):  # type: ignore[arg-type]
            if tree_any(lambda leaf: isinstance(leaf, tv_tensors.TVTensor), list(parts[1:])):
                problem = "changes images without their masks or boxes; take one of torchvision.transforms.v2"
                raise UsageError(f"{type(transform).__name__} {problem}")
            parts = transform(parts[0]), *parts[1:]
            continue
        result = transform(*parts)
        parts = result if isinstance(result, tuple | list) and not inputs_only else (result,)
    if not all(type(part) is Tensor for part in parts):
        parts = tree_map(lambda x: x.as_subclass(Tensor) if isinstance(x, tv_tensors.TVTensor) else x, tuple(parts))
    return parts[0] if inputs_only else parts


def normalize_on_device(transforms: Sequence[nn.Module], device: torch.device) -> list[nn.Module]:
    """Return the transforms with mean and deviation of each Normalize on a device.

    torchvision's Normalize copies them to the device in each step, and the step waits for that. The results are the
    same. Where a deviation is 0 the transform stays as it is, since torchvision must refuse it.
    """
    moved = []
    for transform in transforms:
        if isinstance(transform, v2.Normalize) and all(transform.std):
            transform = copy.copy(transform)
            values = torch.tensor([transform.mean, transform.std], dtype=torch.float64, device=device)
            transform.mean, transform.std = values.unbind()
        moved.append(transform)
    return moved


@cache
def _takes_images_alone(kind: Any) -> bool:
    """Whether a transform has no argument for targets, such as those of kornia and of torchvision before v2."""
    _, first, *others = inspect.signature(kind.forward).parameters.values()
    images_only = not others or others[0].name == "params"  # of kornia: what was drawn before
    return images_only and first.kind is not first.VAR_POSITIONAL


def _typed(images: Any, targets: Any) -> tuple[Any, Any]:
    """Give masks and boxes their tv_tensor types back."""
    if isinstance(targets, Tensor):
        spatial = targets.ndim >= 3 and not targets.is_floating_point() and isinstance(images, Tensor)
        if spatial and targets.shape[-2:] == images.shape[-2:] and not isinstance(targets, tv_tensors.TVTensor):
            return images, tv_tensors.Mask(targets)
        return images, targets
    if not isinstance(targets, list) or not all(isinstance(target, dict) for target in targets):
        return images, targets
    images = [tv_tensors.Image(image) for image in images]
    return images, [_typed_boxes(*pair) for pair in zip(images, targets, strict=True)]


def _typed_boxes(image: Tensor, target: dict[str, Any]) -> dict[str, Any]:
    """Do so for the target dictionary of one image."""
    typed = dict(target)
    if "boxes" in typed and not isinstance(typed["boxes"], tv_tensors.TVTensor):
        size: Any = tuple(image.shape[-2:])
        typed["boxes"] = tv_tensors.BoundingBoxes(typed["boxes"], format="XYXY", canvas_size=size)
    if "masks" in typed:
        typed["masks"] = tv_tensors.Mask(typed["masks"])
    return typed
