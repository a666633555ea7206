from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode, functional


@dataclass(frozen=True)
class Placement:
    """Where an image of any size lies in the square to which it is brought; all numbers are pixels."""

    original: tuple[int, int]  # height and width of the image before
    resized: tuple[int, int]  # and once it is resized
    size: int  # of the square

    @property
    def corner(self) -> tuple[int, int]:
        """Row and column of the resized image's upper left corner in the square, negative where it is cut off."""
        free = (self.size - side for side in self.resized)
        top, left = (number // 2 if number > 0 else round(number / 2) for number in free)  # as center_crop does
        return top, left

    def fit(self, image: Tensor) -> Tensor:
        """Resize an image (C, H, W), decoded at full or a smaller scale, antialiased; cut it, or put 0 around it."""
        if tuple(image.shape[-2:]) != self.resized:
            image = functional.resize(image, list(self.resized), antialias=True)
        return functional.center_crop(image, [self.size, self.size])

    def fit_mask(self, mask: Tensor, outside: int) -> Tensor:
        """Do the same with the classes (H, W) of its pixels: the nearest pixel's, and `outside` where there is none."""
        resized = functional.resize(mask[None] - outside, list(self.resized), InterpolationMode.NEAREST_EXACT)
        return functional.center_crop(resized, [self.size, self.size])[0] + outside  # which pads with 0

    def original_mask(self, mask: Tensor) -> Tensor:
        """Return the square's classes, uint8 (size, size), as those of the original image; 255 where it was cut off."""
        resized = functional.crop(mask[None] + 1, *self.corner, *self.resized) - 1  # pads with 0, and 0 - 1 is 255
        return functional.resize(resized, list(self.original), InterpolationMode.NEAREST_EXACT)[0]

    def fit_boxes(self, boxes: Tensor) -> Tensor:
        """Return corners x1, y1, x2, y2 in the image, shape (M, 4), as corners in the square; none is cut off."""
        return boxes * self._scales(boxes) + self._shifts(boxes)

    def original_boxes(self, boxes: Tensor) -> Tensor:
        """Return corners in the square, shape (M, 4), as corners in the original image."""
        return (boxes - self._shifts(boxes)) / self._scales(boxes)

    def _scales(self, boxes: Tensor) -> Tensor:
        down, across = (new / old for new, old in zip(self.resized, self.original, strict=True))
        return boxes.new_tensor([across, down, across, down])

    def _shifts(self, boxes: Tensor) -> Tensor:
        top, left = self.corner
        return boxes.new_tensor([left, top, left, top])


@dataclass(frozen=True)
class ImageFormat:
    """The size and channels to which every image of a dataset is brought.

    Args:
        size: Height and width in pixels.
        fit: "crop" keeps the proportions and the middle, "stretch" keeps the whole image and changes its proportions,
            "pad" keeps both, with 0 around.
        num_channels: 1 for grey, 3 for colour; of other images the number that each has.
        dtype: Type of the pixels.
    """

    size: int
    fit: Literal["crop", "stretch", "pad"] = "crop"
    num_channels: int = 3
    dtype: Literal["uint8", "float32"] = "uint8"

    def place(self, height: int, width: int) -> Placement:
        """Return where an image of this height and width lies in the square."""
        if self.fit == "stretch":
            return Placement((height, width), (self.size, self.size), self.size)
        side, least = (min(height, width), self.size) if self.fit == "crop" else (max(height, width), 1)
        resized = max(self.size * height // side, least), max(self.size * width // side, least)
        return Placement((height, width), resized, self.size)
