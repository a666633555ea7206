"""Images as they are shown: back in [0, 1], with masks or boxes drawn over them."""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms import v2
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

CLASS_COLORS = ("red", "lime", "blue", "yellow", "magenta", "cyan", "orange", "purple", "pink", "white")


def denormalize(images: Tensor, transforms: list[nn.Module]) -> Tensor:
    """Bring images, shape (B, C, H, W), back to values in [0, 1], on the CPU, to draw them in grey or colour.

    Of the transforms that were applied, only Normalize is undone; of other channels than 1 or 3 the first are taken.
    """
    images = images.detach().cpu().float()
    for transform in transforms:
        if isinstance(transform, v2.Normalize):
            mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (transform.mean, transform.std))
            images = images * std + mean
    return (images / 255 if images.max() > 2 else images)[:, : 3 if images.shape[1] > 2 else 1].clamp(0, 1)


def draw_target(image: Tensor, target: Any) -> Tensor:
    """Draw a mask or boxes over an image of shape (3, H, W) with values in [0, 1].

    A mask of classes has shape (H, W) or (1, H, W), and its class 0 is left clear; boxes and labels come in
    torchvision's dictionary. With any other target the image is returned as it is.
    """
    image = image.float()
    if isinstance(target, dict) and "boxes" in target:
        labels = target.get("names") or [str(int(label)) for label in target.get("labels", [])] or None
        boxes = target["boxes"].detach().cpu()
        font = target.get("font")  # the path of a font file, for names that the usual font has no letters for
        drawn = draw_bounding_boxes(image, boxes, labels, colors="red", font=font) if len(boxes) else image
    elif isinstance(target, Tensor) and target.shape[-2:] == image.shape[-2:] and not target.is_floating_point():
        mask = target.detach().cpu().reshape(image.shape[-2:])
        classes = [k for k in torch.unique(mask).tolist() if k != 0]
        colors = [CLASS_COLORS[k % len(CLASS_COLORS)] for k in classes]  # a class has the same one in every image
        masks = mask == torch.tensor(classes).view(-1, 1, 1)
        drawn = draw_segmentation_masks(image, masks, alpha=0.5, colors=colors) if classes else image
    else:
        return image
    return torch.as_tensor(drawn)
