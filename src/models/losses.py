"""Losses that a configuration cannot make from torch's own, since it can write lists but no tensors."""

import torch
from torch import nn


class WeightedCrossEntropyLoss(nn.CrossEntropyLoss):
    """Cross-entropy with a weight for each class, for classes of different size.

    Args:
        weight: One for each class, at least 0; `${data.init_args.class_weights}` takes them from the data.
        label_smoothing: Share of each target spread over all classes, in [0, 1].

    Raises:
        ValueError: If a weight is below 0.
    """

    def __init__(self, weight: list[float], label_smoothing: float = 0.0) -> None:
        if not weight or min(weight) < 0:
            raise ValueError(f"WeightedCrossEntropyLoss: weights must be at least 0, got {weight}")
        super().__init__(torch.tensor(weight), label_smoothing=label_smoothing)
