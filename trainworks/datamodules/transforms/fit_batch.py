from typing import Any

import torch
from torch import Tensor, nn


class FitBatch(nn.Module):
    """Resize images to the size that a network takes, antialiased, with operations that can be exported.

    Images of that size stay as they are. The pixels of others differ by at most one level from those of `fit_image`,
    which computes with integers.

    Args:
        size: Height and width of the result in pixels.
        crop: Whether the proportions are kept and what is beyond the square is cut off.
    """

    def __init__(self, size: tuple[int, int], crop: bool = False) -> None:
        super().__init__()
        self.size, self.crop = size, crop

    def forward(self, images: Tensor) -> Tensor:
        """Return images of uint8, shape (B, C, *size), from such of any height and width, shape (B, C, H, W)."""
        height: Any = self.size[0]  # a symbolic expression during the export
        width: Any = self.size[1]
        if self.crop:
            short = torch.sym_min(*images.shape[-2:])
            height, width = (torch.sym_max(height * side // short, height) for side in images.shape[-2:])
        resized = nn.functional.interpolate(images.float(), (height, width), mode="bilinear", antialias=True)
        if self.crop:  # by indices: a slice of symbolic length would fix the proportions in the file
            for dim, length, wanted in ((2, height, self.size[0]), (3, width, self.size[1])):
                rest = length - wanted
                start = (rest + rest // 2 % 2) // 2  # half of it, rounded as center_crop does
                resized = resized.index_select(dim, torch.arange(wanted, device=images.device) + start)
        return resized.round().clamp(0, 255).to(torch.uint8)
