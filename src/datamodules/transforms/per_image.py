"""Transforms of a batch that draw anew for each image; torchvision's draw once for the whole batch."""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2


class PerImage(v2.Transform):
    """What they share: a subclass draws for a batch of images, and then changes these and their masks alike."""

    def draw(self, images: Tensor) -> dict[str, Any]:
        """Draw something for every image of shape (B, C, H, W): tensors that begin with B."""
        raise NotImplementedError

    def change(self, images: Tensor, drawn: dict[str, Any]) -> Tensor:
        """Return images, or masks, of shape (B, ..., H, W) changed by what was drawn."""
        raise NotImplementedError

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw for the images of a batch."""
        return self.draw(next(item for item in flat_inputs if isinstance(item, Tensor) and item.ndim == 4))

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """Change images or masks, which keep their types."""
        if isinstance(inpt, tv_tensors.BoundingBoxes):
            raise ValueError("boxes cannot be moved a whole batch at a time; put torchvision's transform in PerSample")
        changed = self.change(inpt, params)
        return tv_tensors.wrap(changed, like=inpt) if isinstance(inpt, tv_tensors.TVTensor) else changed


class RandomFlip(PerImage):
    """Mirror each image left to right, or leave it, by its own coin.

    Args:
        p: Probability of mirroring, in [0, 1].
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"RandomFlip: p must be in [0, 1], got {p}")
        self.p = p

    def draw(self, images: Tensor) -> dict[str, Any]:
        """Draw a coin for every image."""
        return {"flip": torch.rand(len(images), device=images.device) < self.p}

    def change(self, images: Tensor, drawn: dict[str, Any]) -> Tensor:
        """Flip."""
        chosen = torch.arange(len(images), device=images.device) + len(images) * drawn["flip"]
        return torch.cat([images, images.flip(-1)]).index_select(0, chosen)  # faster than torch.where


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
        return _cut(images, drawn, self.size, self.size)


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
        return _cut(padded, drawn, *images.shape[-2:])


def draw_corners(images: Tensor, rows: int, columns: int) -> dict[str, Any]:
    """Draw a row below `rows` and a column below `columns` for every image: two tensors of shape (B,)."""
    count, device = (len(images),), images.device
    return {"top": torch.randint(rows, count, device=device), "left": torch.randint(columns, count, device=device)}


def _cut(images: Tensor, corners: dict[str, Any], height: int, width: int) -> Tensor:
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
