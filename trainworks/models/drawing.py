"""Images as they are shown: back in [0, 1], with masks or boxes drawn over them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2.functional import to_image as to_image
from torchvision.transforms.v2.functional import to_pil_image as to_pil_image
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

from trainworks.models.colors import color_of


def denormalize(images: Tensor, transforms: Sequence[nn.Module]) -> Tensor:
    """Bring images, shape (B, C, H, W), back to values in [0, 1], on the CPU, to draw them in grey or colour.

    Of the transforms, only Normalize is undone; values on no known scale are stretched; of many channels 3 are taken.
    """
    is_uint8, known, images = images.dtype == torch.uint8, False, images.detach().cpu().float()
    for transform in transforms:
        if isinstance(transform, v2.Normalize):
            mean, std = (torch.as_tensor(values).cpu().view(-1, 1, 1) for values in (transform.mean, transform.std))
            images, known = images * std + mean, True
    images = images[:, : 3 if images.shape[1] > 2 else 1]
    low, high = images.aminmax()
    if not known and (low < -0.5 or high > 255):
        return (images - low) / (high - low).clamp(min=1e-9)
    return (images / 255 if is_uint8 or high > 2 else images).clamp(0, 1)


def draw_sample(
    image: Tensor, target: Any, transforms: Sequence[nn.Module] = (), names: Sequence[str] = (), scale: float = 1
) -> Tensor:
    """Return a transformed image (C, H, W) as it is shown, (3, H, W), resized, with its mask or boxes drawn over it."""
    plain = denormalize(image[None], transforms)[0].expand(3, -1, -1)
    if scale != 1:
        how = InterpolationMode.NEAREST if scale > 1 else InterpolationMode.BILINEAR
        before, size = plain.shape[-2:], [max(round(side * scale), 1) for side in plain.shape[-2:]]
        plain = v2.functional.resize(plain, size, how)
        if isinstance(target, dict) and "boxes" in target:
            target = {**target, "boxes": target["boxes"].detach().cpu() * scale}
        elif isinstance(target, Tensor) and target.shape[-2:] == before:
            target = v2.functional.resize(target[None], size, InterpolationMode.NEAREST)[0]
    return draw_target(plain, target, names)


def draw_target(image: Tensor, target: Any, names: Sequence[str] = ()) -> Tensor:
    """Draw a mask (H, W) or (1, H, W), but for class 0, or a detector's boxes over an image (3, H, W) in [0, 1]."""
    image = image.float()
    if isinstance(target, dict) and "boxes" in target:
        return _draw_boxes(image, target, names)
    if isinstance(target, Tensor) and target.shape[-2:] == image.shape[-2:] and not target.is_floating_point():
        mask = target.detach().cpu().reshape(image.shape[-2:])
        if classes := [k for k in torch.unique(mask).tolist() if k != 0]:
            masks = mask == torch.tensor(classes).view(-1, 1, 1)
            return draw_segmentation_masks(image, masks, 0.5, [color_of(k) for k in classes])
    return image


def _draw_boxes(image: Tensor, target: dict[str, Any], names: Sequence[str]) -> Tensor:
    """Draw boxes in the colours of their classes, but for those that are none."""
    from trainworks.models.fonts import font_file  # Matplotlib takes time

    boxes, side = target["boxes"].detach().cpu().reshape(-1, 4), max(image.shape)
    numbers = [int(label) for label in target.get("labels", [1] * len(boxes))]
    texts = target.get("names") or [names[k] if 0 <= k < len(names) else str(k) for k in numbers]
    is_box = boxes.isfinite().all(dim=1) & (boxes[:, :2] <= boxes[:, 2:]).all(dim=1)
    if not (kept := is_box.nonzero().flatten().tolist()):
        return image
    colors = [color_of(numbers[k]) for k in kept]
    look: Any = {"width": max(side // 250, 1), "font": font_file(texts), "font_size": max(side // 25, 8)}
    look["label_colors"] = ["black" if sum(color) > 300 else "white" for color in colors]
    return draw_bounding_boxes(image, boxes[kept], [texts[k] for k in kept], colors, fill_labels=True, **look)
