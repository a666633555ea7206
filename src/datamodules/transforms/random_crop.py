from typing import Any

from torch import Tensor
from torchvision.transforms import v2

from src.datamodules.transforms.drawn import cut, draw_corners, images_of, not_boxes, of_type


class RandomCrop(v2.Transform):
    """Cut a square out of each image at its own random place.

    Args:
        size: Height and width of the square in pixels, at least 1 and at most the images' own.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"RandomCrop: size must be at least 1, got {size}")
        self.size = size

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw a corner for every sample: two tensors of shape (B,)."""
        images = images_of(flat_inputs)
        height, width = images.shape[-2:]
        if self.size > min(height, width):
            raise ValueError(f"RandomCrop: size must be at most that of the images, {height}x{width}, got {self.size}")
        return draw_corners(images, height - self.size + 1, width - self.size + 1)

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """Crop images of shape (B, ..., H, W)."""
        return of_type(cut(not_boxes(inpt), params, self.size, self.size), inpt)
