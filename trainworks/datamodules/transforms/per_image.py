"""The base of transforms that draw anew for each image of a batch; torchvision's draw once for all."""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2


class PerImage(v2.Transform):
    """A transform with parameters for each image: a subclass draws them, and changes images and masks by them."""

    def draw(self, images: Tensor) -> dict[str, Any]:
        """Draw parameters for images of shape (B, C, H, W): tensors whose first dimension is B."""
        raise NotImplementedError

    def change(self, images: Tensor, drawn: dict[str, Any]) -> Tensor:
        """Return images, or masks, of shape (B, ..., H, W), changed by the drawn parameters."""
        raise NotImplementedError

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Draw parameters for the images of a batch."""
        return self.draw(next(item for item in flat_inputs if isinstance(item, Tensor) and item.ndim == 4))

    def transform(self, inpt: Tensor, params: dict[str, Any]) -> Tensor:
        """Change images or masks; the type of a mask stays."""
        if isinstance(inpt, tv_tensors.BoundingBoxes):
            raise ValueError("boxes cannot be moved a whole batch at a time; put torchvision's transform in PerSample")
        changed = self.change(inpt, params)
        return tv_tensors.wrap(changed, like=inpt) if isinstance(inpt, tv_tensors.TVTensor) else changed


def draw_corners(images: Tensor, rows: int, columns: int) -> dict[str, Any]:
    """Draw a row below `rows` and a column below `columns` for every image: two tensors of shape (B,)."""
    count, device = (len(images),), images.device
    return {"top": torch.randint(rows, count, device=device), "left": torch.randint(columns, count, device=device)}


def cut(images: Tensor, corners: dict[str, Any], height: int, width: int) -> Tensor:
    """Return a window of each image of shape (B, ..., H, W), all of one size, each at its own corner.

    Each row of a window is a run of `width` values of the flattened images. Selecting such runs copies them whole, six
    times as fast as indexing with the corners.
    """
    (rows, columns), device = images.shape[-2:], images.device
    flat = images.as_subclass(Tensor).reshape(-1)
    planes = torch.arange(flat.numel() // (rows * columns), device=device).view(len(images), -1, 1) * (rows * columns)
    first = (corners["top"] * columns + corners["left"]).view(-1, 1, 1) + torch.arange(height, device=device) * columns
    runs = flat.as_strided((flat.numel() - width + 1, width), (1, 1))
    return runs.index_select(0, (planes + first).view(-1)).view(*images.shape[:-2], height, width)


class RandomShift(PerImage):
    """Shift each image by its own random offset; new pixels at the edge are filled.

    This equals padding and then cropping at a random corner (torchvision's RandomCrop with padding).

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
