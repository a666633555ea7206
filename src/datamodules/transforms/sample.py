"""Transforms of a batch: how they are applied, and those that take the batch apart into samples."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map
from torchvision import tv_tensors


def apply_transforms(transforms: Sequence[nn.Module], batch: Any) -> Any:
    """Apply transforms to a whole batch; masks and boxes beside the images travel with them.

    Loaders and copies to a device lose the type of a tv_tensor. So integer targets of the images' own height and width
    are taken for masks, and "boxes" and "masks" of a target dictionary for what they are called (boxes as XYXY).

    Args:
        transforms: Each takes what the one before it returned.
        batch: (inputs, targets), inputs alone, or anything else that the transforms take.

    Returns:
        The transformed batch, of plain tensors.
    """
    if not transforms:
        return batch
    alone = not isinstance(batch, tuple | list)
    parts: Any = (batch,) if alone else _typed(*batch) if len(batch) == 2 else batch
    for transform in transforms:
        result = transform(*parts)
        parts = result if isinstance(result, tuple | list) and not alone else (result,)
    if not all(type(part) is Tensor for part in parts):
        parts = tree_map(lambda x: x.as_subclass(Tensor) if isinstance(x, tv_tensors.TVTensor) else x, tuple(parts))
    return parts[0] if alone else parts


class PerSample(nn.Module):
    """Apply torchvision's transforms to each sample by itself, so that each draws its own parameters.

    Slower than the transforms above, but it takes any of torchvision's, and samples of different sizes with boxes.

    Args:
        transforms: Applied in order to each sample (image, target).
    """

    def __init__(self, transforms: list[nn.Module]) -> None:
        super().__init__()
        self.transforms = transforms

    def forward(self, images: Any, targets: Any = None) -> Any:
        """Transform images (B, C, H, W), or a list of them, with their targets, if any."""
        pairs = zip(images, [None] * len(images) if targets is None else targets, strict=True)
        results = []
        for image, target in pairs:
            sample = (_retyped(image, images), _retyped(target, targets))
            for transform in self.transforms:
                sample = transform(*sample)
            results.append(sample)
        new_images, new_targets = zip(*results, strict=True)
        joined = _rejoin(new_images, images)
        return joined if targets is None else (joined, _rejoin(new_targets, targets))


def _typed(images: Any, targets: Any) -> tuple[Any, Any]:
    """Give masks and boxes the type that they lost on their way."""
    if isinstance(targets, Tensor):
        spatial = targets.ndim >= 3 and not targets.is_floating_point() and isinstance(images, Tensor)
        if spatial and targets.shape[-2:] == images.shape[-2:] and not isinstance(targets, tv_tensors.TVTensor):
            return images, tv_tensors.Mask(targets)
        return images, targets
    if not isinstance(targets, list) or not all(isinstance(target, dict) for target in targets):
        return images, targets
    images = [tv_tensors.Image(image) for image in images]
    typed = []
    for image, target in zip(images, targets, strict=True):
        kinds: dict[str, Any] = dict(target)
        if "boxes" in kinds and not isinstance(kinds["boxes"], tv_tensors.TVTensor):
            size: Any = tuple(image.shape[-2:])
            kinds["boxes"] = tv_tensors.BoundingBoxes(kinds["boxes"], format="XYXY", canvas_size=size)
        if "masks" in kinds and not isinstance(kinds["masks"], tv_tensors.TVTensor):
            kinds["masks"] = tv_tensors.Mask(kinds["masks"])
        typed.append(kinds)
    return images, typed


def _retyped(sample: Any, batch: Any) -> Any:
    """Give one sample the type of its batch, which torch forgets when it takes a batch apart."""
    return tv_tensors.wrap(sample, like=batch) if isinstance(batch, tv_tensors.TVTensor) else sample


def _rejoin(samples: Sequence[Any], batch: Any) -> Any:
    return torch.stack(samples) if isinstance(batch, Tensor) else list(samples)  # type: ignore[arg-type]
