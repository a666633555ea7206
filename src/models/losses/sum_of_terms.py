from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainworks import UsageError, did_you_mean


class SumOfTerms(nn.Module):
    """The weighted sum of loss terms that a network computes itself, as torchvision's detectors do.

    Args:
        weights: A factor for a term by its name, such as {bbox_regression: 2.0}; 1 for those that are left out.

    Raises:
        UsageError: If a weight names no term of the network.
    """

    def __init__(self, weights: dict[str, float] | None = None) -> None:
        super().__init__()
        self.weights = weights or {}

    def forward(self, terms: Mapping[str, Tensor], targets: Any = None) -> Tensor:
        """Return the sum of scalars by name, shape ()."""
        for name in self.weights.keys() - terms.keys():
            known = f"the network's terms are {', '.join(sorted(terms))}"
            raise UsageError(f"SumOfTerms: weights name '{name}'{did_you_mean(name, terms)}; {known}")
        return torch.stack([self.weights.get(name, 1.0) * term for name, term in terms.items()]).sum()
