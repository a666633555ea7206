from typing import Any

from torch import Tensor

from trainworks.datamodules.transforms.per_image import PerImage, cut, draw_corners


class RandomCrop(PerImage):
    """Cut a square out of each image at its own random place.

    Args:
        size: Height and width of the square in pixels, at least 1 and at most the images' own.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"RandomCrop: size must be at least 1, got {size}")
        self.size = size

    def draw(self, images: Tensor) -> dict[str, Any]:
        """Draw a corner for every image."""
        height, width = images.shape[-2:]
        if self.size > min(height, width):
            raise ValueError(f"RandomCrop: size must be at most that of the images, {height}x{width}, got {self.size}")
        return draw_corners(images, height - self.size + 1, width - self.size + 1)

    def change(self, images: Tensor, drawn: dict[str, Any]) -> Tensor:
        """Crop."""
        return cut(images, drawn, self.size, self.size)
