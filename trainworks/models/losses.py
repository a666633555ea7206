from typing import Any

import torch
from torch import Tensor, nn


class WeightedSum(nn.Module):
    """A weighted sum of several losses of the same outputs and targets.

    Args:
        losses: At least one.
        weights: The factor of each loss.
    """

    def __init__(self, losses: list[nn.Module], weights: list[float]) -> None:
        super().__init__()
        if not losses or len(losses) != len(weights):
            raise ValueError(f"WeightedSum: {len(losses)} losses need as many weights, got {weights}")
        self.losses, self.weights = nn.ModuleList(losses), weights

    def forward(self, outputs: Any, targets: Any) -> Tensor:
        """Return the sum, a scalar."""
        parts = [weight * loss(outputs, targets) for weight, loss in zip(self.weights, self.losses, strict=True)]
        return torch.stack(parts).sum()
