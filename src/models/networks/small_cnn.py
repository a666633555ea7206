from typing import Literal

from torch import Tensor, nn

from src.models.networks.convolution import convolution


class SmallCNN(nn.Module):
    """A small convolutional network in the manner of VGG (arXiv:1409.1556), for small images.

    Args:
        in_channels: Channels of the image, 1 for grey and 3 for colour.
        num_classes: Number of outputs, at least 1.
        layers: From the image on, a number for a 3x3 convolution of so many channels with batch norm and ReLU, or "M"
            for max pooling by 2, which is put before that batch norm and ReLU.
        pool_size: Rows and columns to which the last feature map is averaged before the linear head.
        dropout: Share of features dropped before the head, in [0, 1).
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        layers: list[int | Literal["M"]],
        pool_size: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        widths = [layer for layer in layers if layer != "M"]
        if not widths or min(in_channels, num_classes, pool_size, *widths) < 1:
            got = f"in_channels {in_channels}, num_classes {num_classes}, layers {layers}, pool_size {pool_size}"
            raise ValueError(f"SmallCNN needs a convolution in layers, and every number at least 1; got {got}")
        if not 0 <= dropout < 1:
            raise ValueError(f"SmallCNN: dropout must be in [0, 1), got {dropout}")
        modules: list[nn.Module] = []
        channels = in_channels
        for layer in layers:
            if layer == "M":  # before the last batch norm and ReLU: they then have a quarter of the work
                modules.insert(-2, nn.MaxPool2d(2))
            else:
                modules += convolution(channels, layer)
                channels = layer
        self.features = nn.Sequential(*modules, nn.AdaptiveAvgPool2d(pool_size), nn.Flatten())
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels * pool_size**2, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images of shape (B, C, H, W) to logits of shape (B, num_classes)."""
        return self.head(self.dropout(self.features(images)))
