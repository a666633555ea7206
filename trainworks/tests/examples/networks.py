from itertools import pairwise

from torch import Tensor, nn


class SmallCNN(nn.Module):
    """3x3 convolutions of so many channels with batch norm and ReLU; M halves height and width."""

    def __init__(
        self, in_channels: int, num_classes: int, layers: list[int | str], pool_size: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if min(in_channels, num_classes, *(layer for layer in layers if isinstance(layer, int))) < 1:
            got = f"in_channels {in_channels}, num_classes {num_classes}, layers {layers}"
            raise ValueError(f"SmallCNN: every number at least 1; got {got}")
        if not 0 <= dropout < 1:
            raise ValueError(f"SmallCNN: dropout must be in [0, 1), got {dropout}")
        modules: list[nn.Module] = []
        channels = in_channels
        for layer in layers:
            if isinstance(layer, str):
                modules.insert(-2, nn.MaxPool2d(2))
                continue
            modules += [nn.Conv2d(channels, layer, 3, padding=1, bias=False), nn.BatchNorm2d(layer), nn.ReLU()]
            channels = layer
        self.features = nn.Sequential(*modules, nn.AdaptiveAvgPool2d(pool_size), nn.Flatten())
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels * pool_size**2, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.dropout(self.features(images)))


class MLP(nn.Module):
    """Linear layers over inputs made flat, with batch norm and ReLU between them."""

    def __init__(self, in_features: int, num_classes: int, hidden: list[int], batch_norm: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for width, following in pairwise([in_features, *hidden]):
            layers.append(nn.Linear(width, following, bias=not batch_norm))
            layers += [nn.BatchNorm1d(following), nn.ReLU()] if batch_norm else [nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear([in_features, *hidden][-1], num_classes))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers(inputs)
