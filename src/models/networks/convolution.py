from torch import nn


def convolution(in_channels: int, out_channels: int, stride: int = 1) -> list[nn.Module]:
    """Return a 3x3 convolution that keeps height and width, or divides them by `stride`, with batch norm and ReLU."""
    return [
        nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    ]


def double_convolution(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """Return two such convolutions, of which the first has the stride."""
    return nn.Sequential(*convolution(in_channels, out_channels, stride), *convolution(out_channels, out_channels))
