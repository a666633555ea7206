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


def sample_losses(loss: Any, inputs: tuple[Any, ...]) -> list[float]:
    """Return the loss of each sample, the mean over what counts of it, where `loss` is a mean; else an empty list."""
    with suppress(Exception):  # a loss of somebody else may mean something else by `reduction`
        each, (_, targets) = copy(loss), inputs
        each.reduction = "none"
        values = each.forward(*inputs).float()
        counted = torch.ones_like(values)
        if hasattr(loss, "ignore_index") and values.shape == targets.shape:
            counted = (targets != loss.ignore_index).float()
        sums, counts = (part.reshape(len(targets), -1).sum(1) for part in (values * counted, counted))
        return (sums / counts).tolist() if loss.reduction == "mean" else []
    return []
