"""What transforms that draw anew for each image of a batch share, and a shift; torchvision's draw once a batch."""

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


def draw_corners(images: Tensor, rows: int, columns: int) -> dict[str, Any]:
    """Draw a row below `rows` and a column below `columns` for every image: two tensors of shape (B,)."""
    count, device = (len(images),), images.device
    return {"top": torch.randint(rows, count, device=device), "left": torch.randint(columns, count, device=device)}


def cut(images: Tensor, corners: dict[str, Any], height: int, width: int) -> Tensor:
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
