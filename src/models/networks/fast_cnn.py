import torch
from torch import Tensor, nn
from torch.nn import functional

BIAS_FACTOR = 8.0  # by which each bias is multiplied; under SGD it then learns 64 times as fast


class FastCNN(nn.Module):
    """A network that learns images of 32x32 in few epochs: that of airbench94 (arXiv:2404.00498).

    Its first convolution whitens patches of 2x2; its weights are computed from the first training batch and then stay
    fixed. The other convolutions are initialized as the identity where they can. Norm layers have only a bias, which
    learns fast, and logits are scaled down. In evaluation the logits are the mean over an image and its mirror image.

    Args:
        in_channels: Channels of the image.
        num_classes: Number of outputs.
        widths: Channels of each of the three pairs of convolutions. Each pair halves height and width; images must have
            25 to 48 pixels a side, since at the end 3x3 pixels become one.
        mirror: Whether evaluation uses the mirror image too; not for letters or digits.
    """

    def __init__(
        self, in_channels: int, num_classes: int, widths: tuple[int, int, int] = (64, 256, 256), mirror: bool = True
    ) -> None:
        super().__init__()
        if min(in_channels, num_classes, *widths) < 1:
            raise ValueError(f"FastCNN: every number must be at least 1; got {in_channels}, {num_classes}, {widths}")
        whitening = _Whitening(in_channels)
        modules: list[nn.Module] = [whitening, nn.GELU()]
        channels = len(whitening.bias)
        for width in widths:
            modules += [_identity(channels, width), nn.MaxPool2d(2), _Norm(width), nn.GELU()]
            modules += [_identity(width, width), _Norm(width), nn.GELU()]
            channels = width
        self.features = nn.Sequential(*modules, nn.MaxPool2d(3), nn.Flatten())
        self.head = nn.Linear(channels, num_classes, bias=False)
        self.mirror = mirror

    def forward(self, images: Tensor) -> Tensor:
        """Map images of shape (B, C, H, W) to logits of shape (B, num_classes)."""
        logits: Tensor = self.head(self.features(images)) / 9
        if self.training or not self.mirror:
            return logits
        return (logits + self.head(self.features(images.flip(-1))) / 9) / 2


class _Whitening(nn.Module):
    """A convolution that turns patches of 2x2 into uncorrelated values of variance 1, each with both signs."""

    weight: Tensor

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        count = 2 * in_channels * 4
        self.register_buffer("weight", torch.zeros(count, in_channels, 2, 2))
        self.bias = nn.Parameter(torch.zeros(count))
        self._has_weights = False

    def forward(self, images: Tensor) -> Tensor:
        if self.training and not self._has_weights:
            if not self.weight.any():  # else a checkpoint has brought them
                self._learn(images)
            self._has_weights = True
        return functional.conv2d(images, self.weight, self.bias)

    @torch.no_grad()
    def _learn(self, images: Tensor) -> None:
        with torch.autocast(images.device.type, enabled=False):
            patches = functional.unfold(images.float(), 2).transpose(0, 1).flatten(1)  # (C * 4, number of patches)
            covariance = patches @ patches.T / patches.shape[1]
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                torch.distributed.all_reduce(covariance)
                covariance /= torch.distributed.get_world_size()
            values, vectors = torch.linalg.eigh(covariance)
            filters = (vectors / (values + 5e-4).sqrt()).T.view(-1, *self.weight.shape[1:])
            self.weight.copy_(torch.cat([filters, -filters]))


class _Norm(nn.Module):
    """Batch norm without a scale, with a fast bias and a high momentum of the running statistics."""

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, inputs: Tensor) -> Tensor:
        bias = BIAS_FACTOR * self.bias
        return functional.batch_norm(inputs, self.mean, self.variance, None, bias, self.training, 0.4, 1e-12)


def _identity(in_channels: int, out_channels: int) -> nn.Conv2d:
    """Return a 3x3 convolution that is initialized as the identity on its first channels."""
    convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    nn.init.dirac_(convolution.weight.data[: min(in_channels, out_channels)])
    return convolution
