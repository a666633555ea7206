import torch
from torch import Tensor, nn


class SmallCNN(nn.Module):
    """A small convolutional network for small images.

    Each stage is a 3x3 convolution with batch norm and ReLU; between two stages the image is halved by max pooling.
    The mean over the last feature map goes through dropout and a linear layer.

    Args:
        in_channels: Channels of the image, 1 for grey and 3 for colour.
        num_classes: Number of outputs, at least 1.
        channels: Channels of each stage; every stage after the first halves height and width, so the image needs at
            least 2 ** (stages - 1) pixels a side.
        dropout: Share of features dropped before the last layer, in [0, 1).

    Raises:
        ValueError: If a number is out of range.
    """

    def __init__(self, in_channels: int, num_classes: int, channels: list[int], dropout: float = 0.0) -> None:
        super().__init__()
        if not channels or min(in_channels, num_classes, *channels) < 1:
            numbers = f"{in_channels}, {num_classes} and {channels}"
            raise ValueError(f"in_channels, num_classes and channels must be at least 1, got {numbers}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {dropout}")
        stages: list[nn.Module] = []
        for index, (width, next_width) in enumerate(zip([in_channels, *channels[:-1]], channels, strict=True)):
            stages += [nn.MaxPool2d(2)] if index else []
            stages.append(nn.Conv2d(width, next_width, kernel_size=3, padding=1, bias=False))
            stages += [nn.BatchNorm2d(next_width), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*stages)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images of shape (B, C, H, W) to logits of shape (B, num_classes)."""
        features = torch.mean(self.features(images), dim=(2, 3))
        logits: Tensor = self.head(self.dropout(features))
        return logits
