from contextlib import suppress
from copy import copy
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


def sample_losses(loss: Any, calls: list[Any], value: Any) -> list[float]:
    """Return the loss of each sample of the call that gave `value`, [] where `loss` is no mean of such."""
    with suppress(Exception):  # a loss of somebody else may mean something else by it
        each, (outputs, targets) = copy(loss), next(inputs for inputs, returned in calls if returned is value)
        each.reduction = "none"
        values = each.forward(outputs, targets).float()
        if values.shape == targets.shape:
            values = values.where(targets != getattr(loss, "ignore_index", torch.nan), torch.nan)
        if loss.reduction == "mean" and len(values) == len(targets):
            return values.reshape(len(values), -1).nanmean(1).tolist()
    return []
