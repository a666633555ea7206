from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from src.datamodules.transforms.drawn import draw_corners, images_of, of_type


class Cutout(v2.Transform):
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

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the middle of a square for every sample: two tensors of shape (B,)."""
        images = images_of(flat_inputs)
        return draw_corners(images, *images.shape[-2:])

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """Cover squares of images of shape (B, C, H, W)."""
        if isinstance(inpt, tv_tensors.Mask):
            return of_type(inpt, inpt)
        (height, width), half = inpt.shape[-2:], self.size // 2
        y = torch.arange(height, device=inpt.device) - params["top"][:, None] + half
        x = torch.arange(width, device=inpt.device) - params["left"][:, None] + half
        inside = ((y >= 0) & (y < self.size))[:, :, None] & ((x >= 0) & (x < self.size))[:, None]
        return of_type(inpt.masked_fill(inside[:, None], self.fill), inpt)
