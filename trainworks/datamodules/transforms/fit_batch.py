from typing import Any, Literal

import torch
from torch import Tensor, nn


class FitBatch(nn.Module):
    """Resize images to the size that a network takes, antialiased, with operations that can be exported.

    Images of that size stay as they are. The pixels of others differ by at most one level from those of
    `Placement.fit`, which computes with integers. `size` is height and width of the result; `fit` as in ImageFormat.
    """

    def __init__(self, size: tuple[int, int], fit: Literal["crop", "stretch", "pad"] = "stretch") -> None:
        super().__init__()
        self.size, self.fit = size, fit

    def forward(self, images: Tensor) -> Tensor:
        """Return images of uint8, shape (B, C, *size), from such of any height and width, shape (B, C, H, W)."""
        height, width = self._resized(images.shape[-2:])
        resized = nn.functional.interpolate(images.float(), (height, width), mode="bilinear", antialias=True)
        for dim, length, wanted in ((2, height, self.size[0]), (3, width, self.size[1])):
            if self.fit == "crop":  # by indices: a slice of symbolic length would fix the proportions in the file
                rest = length - wanted
                start = (rest + rest // 2 % 2) // 2  # half of it, rounded as center_crop does
                resized = resized.index_select(dim, torch.arange(wanted, device=images.device) + start)
            elif self.fit == "pad":
                index = torch.arange(wanted, device=images.device) - (wanted - length) // 2
                inside = ((index >= 0) & (index < length)).reshape(-1, *[1] * (3 - dim))
                resized = resized.index_select(dim, index.clamp(0, length - 1)) * inside
        return resized.round().clamp(0, 255).to(torch.uint8)

    def boxes_in_original(self, boxes: Tensor, size: Any) -> Tensor:
        """Return corners x1, y1, x2, y2 in the result, shape (..., 4), as corners in an image of `size`."""
        parts = list[Tensor]()
        for axis in (1, 0, 1, 0):
            length, wanted = self._resized(size)[axis], self.size[axis]
            rest = length - wanted
            shift = (rest + rest // 2 % 2) // 2 if self.fit == "crop" else -((wanted - length) // 2)
            scaled = (boxes[..., len(parts)] + shift) * size[axis] / length
            parts.append(scaled.clamp(min=0).clamp(max=size[axis]))
        return torch.stack(parts, dim=-1)

    def _resized(self, size: Any) -> tuple[Any, Any]:
        """Return height and width before cutting or padding: symbolic expressions during the export."""
        height: Any = self.size[0]
        if self.fit == "stretch":
            return self.size
        choose, least = (torch.sym_min, height) if self.fit == "crop" else (torch.sym_max, 1)
        side = choose(*size)
        down, across = (torch.sym_max(height * old // side, least) for old in size)
        return down, across
