from itertools import pairwise

from torch import Tensor, nn

from src.models.networks.convolution import double_convolution


class SmallPyramid(nn.Module):
    """A small feature pyramid (arXiv:1612.03144) as a backbone for torchvision's detectors.

    Its feature map has a quarter of the image's height and width; coarser scales are upsampled and added to it.

    Args:
        in_channels: Channels of the image; torchvision's detectors want 3.
        widths: Channels of a half, a quarter and each further scale, at least two.
        out_channels: Channels of the map; FCOS and RetinaNet want a multiple of 32.
    """

    def __init__(self, in_channels: int, widths: list[int], out_channels: int) -> None:
        super().__init__()
        if len(widths) < 2 or min(in_channels, out_channels, *widths) < 1:
            got = f"in_channels {in_channels}, widths {widths}, out_channels {out_channels}"
            raise ValueError(f"SmallPyramid needs at least two widths, and every number at least 1; got {got}")
        self.out_channels = out_channels
        self.down = nn.ModuleList(double_convolution(*pair, stride=2) for pair in pairwise([in_channels, *widths]))
        self.lateral = nn.ModuleList(nn.Conv2d(width, out_channels, kernel_size=1) for width in widths[1:])
        self.last = nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Map images of shape (B, C, H, W) to features of shape (B, out_channels, H / 4, W / 4)."""
        scales = [images]
        for block in self.down:
            scales.append(block(scales[-1]))
        *others, coarsest = [lateral(scale) for lateral, scale in zip(self.lateral, scales[2:], strict=True)]
        result: Tensor = coarsest
        for scale in reversed(others):
            result = scale + nn.functional.interpolate(result, size=scale.shape[-2:])
        return self.last(result)
