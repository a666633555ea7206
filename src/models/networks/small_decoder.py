from typing import Literal

from torch import Tensor, nn

from src.models.networks.convolution import convolution


class SmallDecoder(nn.Module):
    """A small convolutional decoder from a feature vector to an image, the counterpart of SmallCNN.

    Args:
        in_features: Length of the feature vector, at least 1.
        out_channels: Channels of the image, at least 1.
        layers: Towards the image, a number for a 3x3 convolution of so many channels with batch norm and ReLU, or "U"
            to double height and width. Begins with a number.
        start_size: Height and width of the first feature map.
    """

    def __init__(self, in_features: int, out_channels: int, layers: list[int | Literal["U"]], start_size: int) -> None:
        super().__init__()
        widths = [layer for layer in layers if layer != "U"]
        if not widths or layers[0] == "U" or min(in_features, out_channels, start_size, *widths) < 1:
            got = f"in_features {in_features}, out_channels {out_channels}, layers {layers}, start_size {start_size}"
            raise ValueError(f"SmallDecoder: layers must begin with a number, and each be at least 1; got {got}")
        channels = widths[0]
        modules: list[nn.Module] = [nn.Linear(in_features, channels * start_size**2)]
        modules.append(nn.Unflatten(1, (channels, start_size, start_size)))
        for layer in layers:
            if layer == "U":
                modules.append(nn.Upsample(scale_factor=2))
            else:
                modules += convolution(channels, layer)
                channels = layer
        self.layers = nn.Sequential(*modules, nn.Conv2d(channels, out_channels, kernel_size=3, padding=1))

    def forward(self, features: Tensor) -> Tensor:
        """Map features of shape (B, in_features) to images of shape (B, out_channels, H, W)."""
        return self.layers(features)
