"""Random crops, flips and cutouts that draw anew for each image of a batch."""

from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.ops import roi_align

from trainworks.datamodules.transforms.per_image import PerImage, cut, draw_corners


class RandomCrop(PerImage):
    """Crop a square of each image at its own random position.

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


class RandomFlip(PerImage):
    """Flip each image horizontally with probability p.

    Args:
        p: Probability of a flip, in [0, 1].
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"RandomFlip: p must be in [0, 1], got {p}")
        self.p = p

    def draw(self, images: Tensor) -> dict[str, Any]:
        """Draw for every image whether it is flipped."""
        return {"flip": torch.rand(len(images), device=images.device) < self.p}

    def change(self, images: Tensor, drawn: dict[str, Any]) -> Tensor:
        """Flip."""
        chosen = torch.arange(len(images), device=images.device) + len(images) * drawn["flip"]
        return torch.cat([images, images.flip(-1)]).index_select(0, chosen)  # faster than torch.where


class RandomResizedCrop(PerImage):
    """Crop a rectangle of random area and proportions of each image and resize it (arXiv:1409.4842).

    Images are averaged over the pixels of a new pixel; masks take the nearest pixel.

    Args:
        size: Height and width of the result in pixels.
        scale: Smallest and largest share of the area that is kept, in (0, 1].
        ratio: Smallest and largest ratio of width to height.
    """

    def __init__(
        self, size: int, scale: tuple[float, float] = (0.35, 1.0), ratio: tuple[float, float] = (0.75, 1.33)
    ) -> None:
        super().__init__()
        if size < 1 or not 0 < scale[0] <= scale[1] <= 1 or not 0 < ratio[0] <= ratio[1]:
            wanted = "size must be at least 1, scale in (0, 1] and ratio above 0, each from low to high"
            raise ValueError(f"RandomResizedCrop: {wanted}; got size {size}, scale {scale}, ratio {ratio}")
        self.size, self.scale, self.ratio = size, scale, ratio

    def draw(self, images: Tensor) -> dict[str, Any]:
        """Draw a rectangle for every image: x1, y1, x2, y2 in pixels, shape (B, 4)."""
        height, width = images.shape[-2:]
        area, proportion, x, y = torch.rand(4, len(images), device=images.device)
        area = height * width * (self.scale[0] + area * (self.scale[1] - self.scale[0]))
        low, high = torch.tensor(self.ratio).log().tolist()
        proportion = (low + proportion * (high - low)).exp()
        wide = (area * proportion).sqrt().clamp(1, width)
        tall = (area / proportion).sqrt().clamp(1, height)
        left, top = x * (width - wide), y * (height - tall)
        return {"boxes": torch.stack([left, top, left + wide, top + tall], dim=1)}

    def change(self, images: Tensor, drawn: dict[str, Any]) -> Tensor:
        """Crop and resize."""
        boxes, rows = drawn["boxes"], torch.arange(len(images), device=images.device)[:, None]
        if isinstance(images, tv_tensors.Mask):  # take the pixel nearest to each of size x size points
            steps = (torch.arange(self.size, device=images.device) + 0.5) / self.size
            left, top, right, bottom = boxes[:, :, None].unbind(1)
            x = (left + steps * (right - left)).long().clamp(max=images.shape[-1] - 1)
            y = (top + steps * (bottom - top)).long().clamp(max=images.shape[-2] - 1)
            moved = images.as_subclass(Tensor).movedim((-2, -1), (1, 2))  # (B, H, W, ...)
            return moved[rows[:, :, None], y[:, :, None], x[:, None, :]].movedim((1, 2), (-2, -1))
        floats = images if images.is_floating_point() else images.float()
        result = roi_align(floats, torch.cat([rows.float(), boxes], dim=1).to(floats), self.size, aligned=True)
        return result if images.is_floating_point() else result.round().to(images.dtype)


class Cutout(PerImage):
    """Fill a square of each image at its own random position (arXiv:1708.04552).

    Near the edge a part of the square is outside the image. Masks and labels stay as they are.

    Args:
        size: Height and width of the square in pixels.
        fill: Value of the filled pixels, in the images' own range; 0 is the mean of normalised images.
    """

    def __init__(self, size: int, fill: float = 0) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"Cutout: size must be at least 1, got {size}")
        self.size, self.fill = size, fill

    def draw(self, images: Tensor) -> dict[str, Any]:
        """Draw the centre of a square for every image."""
        return draw_corners(images, *images.shape[-2:])

    def change(self, images: Tensor, drawn: dict[str, Any]) -> Tensor:
        """Fill squares."""
        if isinstance(images, tv_tensors.Mask):
            return images
        (height, width), half = images.shape[-2:], self.size // 2
        y = torch.arange(height, device=images.device) - drawn["top"][:, None] + half
        x = torch.arange(width, device=images.device) - drawn["left"][:, None] + half
        inside = ((y >= 0) & (y < self.size))[:, :, None] & ((x >= 0) & (x < self.size))[:, None]
        return images.masked_fill(inside[:, None], self.fill)
