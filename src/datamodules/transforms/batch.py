"""Batch transforms that draw anew for each sample; torchvision's draw once for the whole batch they are given."""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.ops import roi_align
from torchvision.transforms import v2


class RandomShift(v2.Transform):
    """Shift each image by its own random offset; what comes in at the edge is filled.

    The same as padding and then cropping at a random place (torchvision's RandomCrop with padding).

    Args:
        pixels: Largest shift in each direction, at least 1.
        fill: Value of the new pixels, in the images' own range.

    Raises:
        ValueError: If `pixels` is below 1.
    """

    def __init__(self, pixels: int, fill: float = 0) -> None:
        super().__init__()
        if pixels < 1:
            raise ValueError(f"RandomShift: pixels must be at least 1, got {pixels}")
        self.pixels, self.fill = pixels, fill

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw an offset for every sample: two tensors of shape (B,), values in [0, 2 * pixels]."""
        return _draw_corners(_images(flat_inputs), 2 * self.pixels + 1, 2 * self.pixels + 1)

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """Shift images of shape (B, ..., H, W)."""
        padded = nn.functional.pad(_checked(inpt), [self.pixels] * 4, value=self.fill)
        return _of_type(_cut(padded, params, *inpt.shape[-2:]), inpt)


class RandomCrop(v2.Transform):
    """Cut a square out of each image at its own random place.

    Args:
        size: Height and width of the square in pixels, at least 1 and at most the images' own.

    Raises:
        ValueError: If `size` is below 1, or above the size of the images.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"RandomCrop: size must be at least 1, got {size}")
        self.size = size

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw a corner for every sample: two tensors of shape (B,)."""
        images = _images(flat_inputs)
        height, width = images.shape[-2:]
        if self.size > min(height, width):
            raise ValueError(f"RandomCrop: size must be at most that of the images, {height}x{width}, got {self.size}")
        return _draw_corners(images, height - self.size + 1, width - self.size + 1)

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """Crop images of shape (B, ..., H, W)."""
        return _of_type(_cut(_checked(inpt), params, self.size, self.size), inpt)


class RandomResizedCrop(v2.Transform):
    """Cut a rectangle of random area and proportions out of each image and bring it to one size (arXiv:1409.4842).

    Images are averaged over the pixels that fall together; masks take the nearest one.

    Args:
        size: Height and width of the result in pixels.
        scale: Least and greatest share of the area that is kept, in (0, 1].
        ratio: Least and greatest proportion of width to height.

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(
        self, size: int, scale: tuple[float, float] = (0.35, 1.0), ratio: tuple[float, float] = (0.75, 1.33)
    ) -> None:
        super().__init__()
        if size < 1 or not 0 < scale[0] <= scale[1] <= 1 or not 0 < ratio[0] <= ratio[1]:
            raise ValueError(
                "RandomResizedCrop: size must be at least 1, scale in (0, 1] and ratio above 0, each from low to high; "
                f"got size {size}, scale {scale}, ratio {ratio}"
            )
        self.size, self.scale, self.ratio = size, scale, ratio

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw a rectangle for every sample: x1, y1, x2, y2 in pixels, shape (B, 4)."""
        images = _images(flat_inputs)
        height, width = images.shape[-2:]
        area, proportion, x, y = torch.rand(4, len(images), device=images.device)
        area = height * width * (self.scale[0] + area * (self.scale[1] - self.scale[0]))
        low, high = torch.tensor(self.ratio).log().tolist()
        proportion = (low + proportion * (high - low)).exp()
        wide = (area * proportion).sqrt().clamp(1, width)
        high_ = (area / proportion).sqrt().clamp(1, height)
        left, top = x * (width - wide), y * (height - high_)
        return {"boxes": torch.stack([left, top, left + wide, top + high_], dim=1)}

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """Crop images of shape (B, C, H, W), or masks of shape (B, ..., H, W)."""
        boxes, size = params["boxes"], self.size
        if isinstance(_checked(inpt), tv_tensors.Mask):
            return _of_type(_nearest(inpt, boxes, size), inpt)
        rows = torch.arange(len(inpt), device=inpt.device)[:, None].float()
        floats = inpt if inpt.is_floating_point() else inpt.float()
        result = roi_align(floats, torch.cat([rows, boxes], dim=1).to(floats), size, aligned=True)
        return _of_type(result if inpt.is_floating_point() else result.round().to(inpt.dtype), inpt)


class RandomFlip(v2.Transform):
    """Mirror each image left to right, or leave it, by its own coin.

    Args:
        p: Probability of mirroring, in [0, 1].

    Raises:
        ValueError: If `p` is out of range.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"RandomFlip: p must be in [0, 1], got {p}")
        self.p = p

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw a coin for every sample: a boolean tensor of shape (B,)."""
        images = _images(flat_inputs)
        return {"flip": torch.rand(len(images), device=images.device) < self.p}

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """Flip images of shape (B, ..., H, W)."""
        both = torch.cat([_checked(inpt), inpt.flip(-1)])
        chosen = torch.arange(len(inpt), device=inpt.device) + len(inpt) * params["flip"]
        return _of_type(both.index_select(0, chosen), inpt)  # faster than torch.where


class Cutout(v2.Transform):
    """Cover a square of each image at its own random place; near the edge part of it falls outside (arXiv:1708.04552).

    Masks and labels stay as they are.

    Args:
        size: Height and width of the square in pixels, at least 1.
        fill: Value of the covered pixels, in the images' own range; 0 is the mean of normalised images.

    Raises:
        ValueError: If `size` is below 1.
    """

    def __init__(self, size: int, fill: float = 0) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"Cutout: size must be at least 1, got {size}")
        self.size, self.fill = size, fill

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw the middle of a square for every sample: two tensors of shape (B,)."""
        images = _images(flat_inputs)
        return _draw_corners(images, *images.shape[-2:])

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """Cover squares of images of shape (B, C, H, W)."""
        if isinstance(inpt, tv_tensors.Mask):
            return _of_type(inpt, inpt)
        (height, width), half = inpt.shape[-2:], self.size // 2
        y = torch.arange(height, device=inpt.device) - params["top"][:, None] + half
        x = torch.arange(width, device=inpt.device) - params["left"][:, None] + half
        inside = ((y >= 0) & (y < self.size))[:, :, None] & ((x >= 0) & (x < self.size))[:, None]
        return _of_type(inpt.masked_fill(inside[:, None], self.fill), inpt)


def _images(inputs: list[Any]) -> Tensor:
    """Return the batch of images, the first tensor of shape (B, C, H, W)."""
    return next(item for item in inputs if isinstance(item, Tensor) and item.ndim == 4)


def _checked(inputs: Tensor) -> Tensor:
    if isinstance(inputs, tv_tensors.BoundingBoxes):
        raise ValueError("boxes cannot be moved a whole batch at a time; put torchvision's transform in PerSample")
    return inputs


def _draw_corners(images: Tensor, rows: int, columns: int) -> dict[str, Any]:
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


def _nearest(masks: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Return the pixel nearest to each of size x size points in each box, for masks of shape (B, ..., H, W)."""
    steps = (torch.arange(size, device=masks.device) + 0.5) / size
    left, top, right, bottom = boxes[:, :, None].unbind(1)
    x = (left + steps * (right - left)).long().clamp(max=masks.shape[-1] - 1)
    y = (top + steps * (bottom - top)).long().clamp(max=masks.shape[-2] - 1)
    rows = torch.arange(len(masks), device=masks.device)[:, None, None]
    moved = masks.as_subclass(Tensor).movedim((-2, -1), (1, 2))  # (B, H, W, ...)
    chosen: Tensor = moved[rows, y[:, :, None], x[:, None, :]]
    return chosen.movedim((1, 2), (-2, -1))


def _of_type(result: Tensor, given: Tensor) -> Tensor:
    """Keep masks masks and images images."""
    wrapped: Tensor = tv_tensors.wrap(result, like=given) if isinstance(given, tv_tensors.TVTensor) else result
    return wrapped
