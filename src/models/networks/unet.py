from itertools import pairwise

import torch
from torch import Tensor, nn

from src.models.networks.convolution import double_convolution


class UNet(nn.Module):
    """U-Net (arXiv:1505.04597) with padded convolutions and batch norm, for images of any height and width.

    Args:
        in_channels: Channels of the image, 1 for grey and 3 for colour.
        num_classes: Number of outputs for each pixel, at least 1.
        widths: Channels at each scale, the image's own first; each has half the height and width of the one before.
    """

    def __init__(self, in_channels: int, num_classes: int, widths: list[int]) -> None:
        super().__init__()
        if not widths or min(in_channels, num_classes, *widths) < 1:
            got = f"in_channels {in_channels}, num_classes {num_classes}, widths {widths}"
            raise ValueError(f"UNet needs at least one width, and every number at least 1; got {got}")
        self.down = nn.ModuleList(double_convolution(*pair) for pair in pairwise([in_channels, *widths]))
        self.up = nn.ModuleList(double_convolution(high + low, high) for high, low in reversed(list(pairwise(widths))))
        self.head = nn.Conv2d(widths[0], num_classes, kernel_size=1)

    def forward(self, images: Tensor) -> Tensor:
        """Map images of shape (B, C, H, W) to logits of shape (B, num_classes, H, W)."""
        features, *others = self.down
        scales = [features(images)]
        for block in others:
            scales.append(block(nn.functional.max_pool2d(scales[-1], 2, ceil_mode=True)))
        result = scales.pop()
        for block, skip in zip(self.up, reversed(scales), strict=True):
            enlarged = nn.functional.interpolate(result, size=skip.shape[-2:])
            result = block(torch.cat([skip, enlarged], dim=1))
        return self.head(result)
