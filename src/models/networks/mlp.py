from itertools import pairwise

from torch import Tensor, nn


class MLP(nn.Module):
    """Multilayer perceptron: linear layers with batch norm and ReLU between them.

    Args:
        in_features: Number of values in one flattened sample, at least 1.
        num_classes: Number of outputs, at least 1.
        hidden: Width of each hidden layer; empty for a linear classifier.
        batch_norm: Whether to normalise each hidden layer over the batch (arXiv:1502.03167).
        norm_inputs: Whether to normalise the inputs too, for features of different scales.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        hidden: list[int],
        batch_norm: bool = True,
        norm_inputs: bool = False,
    ) -> None:
        super().__init__()
        widths = [in_features, *hidden, num_classes]
        if min(widths) < 1:
            raise ValueError(f"in_features, hidden and num_classes must be at least 1, got {widths}")
        layers: list[nn.Module] = [nn.Flatten()]
        if norm_inputs:  # later a feature that hardly varies in training can be a thousand deviations off
            layers += [nn.BatchNorm1d(in_features, affine=False), nn.Hardtanh(-8, 8)]
        for width, next_width in pairwise(widths[:-1]):
            layers.append(nn.Linear(width, next_width, bias=not batch_norm))
            layers += [nn.BatchNorm1d(next_width)] if batch_norm else []
            layers.append(nn.ReLU(inplace=True))
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-2], num_classes))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map samples of any shape (B, ...) to logits of shape (B, num_classes)."""
        return self.layers(inputs)
