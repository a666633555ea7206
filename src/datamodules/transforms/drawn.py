"""What the batch transforms share. They draw anew for each sample; torchvision's draw once for the whole batch."""

from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors


def images_of(inputs: list[Any]) -> Tensor:
    """Return the batch of images, the first tensor of shape (B, C, H, W)."""
    return next(item for item in inputs if isinstance(item, Tensor) and item.ndim == 4)


def not_boxes(inputs: Tensor) -> Tensor:
    """Refuse boxes, which these transforms cannot move, and pass on anything else."""
    if isinstance(inputs, tv_tensors.BoundingBoxes):
        raise ValueError("boxes cannot be moved a whole batch at a time; put torchvision's transform in PerSample")
    return inputs


def draw_corners(images: Tensor, rows: int, columns: int) -> dict[str, Any]:
    """Draw a row below `rows` and a column below `columns` for every image: two tensors of shape (B,)."""
    count, device = (len(images),), images.device
    return {"top": torch.randint(rows, count, device=device), "left": torch.randint(columns, count, device=device)}


def cut(images: Tensor, corners: dict[str, Any], height: int, width: int) -> Tensor:
    """Return a window of each image of shape (B, ..., H, W), all of one size, each at its own corner.

    Each row of a window is `width` values of the flattened images from some place on. Selecting rows copies them whole,
    six times as fast as indexing with the corners.
    """
    (rows, columns), device = images.shape[-2:], images.device
    flat = images.as_subclass(Tensor).reshape(-1)
    planes = torch.arange(flat.numel() // (rows * columns), device=device).view(len(images), -1, 1) * (rows * columns)
    first = (corners["top"] * columns + corners["left"]).view(-1, 1, 1) + torch.arange(height, device=device) * columns
    everywhere = flat.as_strided((flat.numel() - width + 1, width), (1, 1))
    return everywhere.index_select(0, (planes + first).view(-1)).view(*images.shape[:-2], height, width)


def of_type(result: Tensor, given: Tensor) -> Tensor:
    """Keep masks masks and images images."""
    return tv_tensors.wrap(result, like=given) if isinstance(given, tv_tensors.TVTensor) else result
