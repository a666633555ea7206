from typing import Any

import torch
from torch import Tensor, nn


class FitBatch(nn.Module):
    """Bring images to the size that a network takes, antialiased, with operations that an exported file may hold.

    Images of that size stay as they are. Others come within one level of what `fit_image` makes of them, which computes
    with whole numbers.

    Args:
        size: Height and width wanted, in pixels.
        crop: Whether the proportions are kept and what is too long is cut off; only for a square.
    """

    def __init__(self, size: tuple[int, int], crop: bool = False) -> None:
        super().__init__()
        self.size, self.crop = size, crop

    def forward(self, images: Tensor) -> Tensor:
        """Return images of uint8, shape (B, C, *size), from such of any height and width, shape (B, C, H, W)."""
        height: Any = self.size[0]  # while it is exported, an expression
        width: Any = self.size[1]
        if self.crop:
            short = torch.sym_min(*images.shape[-2:])
            height, width = (torch.sym_max(height * side // short, height) for side in images.shape[-2:])
        found = nn.functional.interpolate(images.float(), (height, width), mode="bilinear", antialias=True)
        if self.crop:  # rows and columns by number: a slice of unknown length would tie the file to one proportion
            for dim, length, wanted in ((2, height, self.size[0]), (3, width, self.size[1])):
                rest = length - wanted
                start = (rest + rest // 2 % 2) // 2  # half of it, rounded as center_crop does
                found = found.index_select(dim, torch.arange(wanted, device=images.device) + start)
        return found.round().clamp(0, 255).to(torch.uint8)
