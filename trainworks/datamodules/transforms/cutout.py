from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors

from trainworks.datamodules.transforms.per_image import PerImage, draw_corners


class Cutout(PerImage):
    """Cover a square of each image at its own random place; near the edge part of it falls outside (arXiv:1708.04552).

    Masks and labels stay as they are.

    Args:
        size: Height and width of the square in pixels, at least 1.
        fill: Value of the covered pixels, in the images' own range; 0 is the mean of normalised images.
    """

    def __init__(self, size: int, fill: float = 0) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"Cutout: size must be at least 1, got {size}")
        self.size, self.fill = size, fill

    def draw(self, images: Tensor) -> dict[str, Any]:
        """Draw the middle of a square for every image."""
        return draw_corners(images, *images.shape[-2:])

    def change(self, images: Tensor, drawn: dict[str, Any]) -> Tensor:
        """Cover squares."""
        if isinstance(images, tv_tensors.Mask):
            return images
        (height, width), half = images.shape[-2:], self.size // 2
        y = torch.arange(height, device=images.device) - drawn["top"][:, None] + half
        x = torch.arange(width, device=images.device) - drawn["left"][:, None] + half
        inside = ((y >= 0) & (y < self.size))[:, :, None] & ((x >= 0) & (x < self.size))[:, None]
        return images.masked_fill(inside[:, None], self.fill)
