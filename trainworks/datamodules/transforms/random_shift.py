from typing import Any

from torch import Tensor, nn

from trainworks.datamodules.transforms.per_image import PerImage, cut, draw_corners


class RandomShift(PerImage):
    """Shift each image by its own random offset; what comes in at the edge is filled.

    The same as padding and then cropping at a random place (torchvision's RandomCrop with padding).

    Args:
        pixels: Largest shift in each direction, at least 1.
        fill: Value of the new pixels, in the images' own range.
    """

    def __init__(self, pixels: int, fill: float = 0) -> None:
        super().__init__()
        if pixels < 1:
            raise ValueError(f"RandomShift: pixels must be at least 1, got {pixels}")
        self.pixels, self.fill = pixels, fill

    def draw(self, images: Tensor) -> dict[str, Any]:
        """Draw an offset for every image."""
        return draw_corners(images, 2 * self.pixels + 1, 2 * self.pixels + 1)

    def change(self, images: Tensor, drawn: dict[str, Any]) -> Tensor:
        """Shift."""
        padded = nn.functional.pad(images, [self.pixels] * 4, value=self.fill)
        return cut(padded, drawn, *images.shape[-2:])
