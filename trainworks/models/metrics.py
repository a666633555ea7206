"""Metrics that torchmetrics lacks."""

from typing import Any

import matplotlib.pyplot as plt
import torch
from torch import Tensor
from torchmetrics import Metric


class ReliabilityDiagram(Metric):
    """Accuracy as a function of confidence (arXiv:1706.04599); torchmetrics has only the calibration error.

    Args:
        num_bins: Number of intervals of confidence, at least 2.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, num_bins: int = 10) -> None:
        super().__init__()
        if num_bins < 2:
            raise ValueError(f"ReliabilityDiagram: num_bins must be at least 2, got {num_bins}")
        self.num_bins = num_bins
        self.add_state("counts", torch.zeros(3, num_bins, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Count the predictions of a batch, logits of shape (B, K) and targets of shape (B,)."""
        confidence, predictions = torch.softmax(logits.float(), dim=1).nan_to_num().max(dim=1)
        bins = (confidence * self.num_bins).long().clamp(max=self.num_bins - 1)
        rows = torch.stack([torch.ones_like(confidence), confidence, (predictions == targets).float()])
        self.counts.index_add_(1, bins, rows.to(self.counts))

    def compute(self) -> Tensor:
        """Return number of samples, mean confidence and accuracy of each bin, shape (3, num_bins)."""
        number, confidence, right = self.counts
        return torch.stack([number, confidence / number.clamp(min=1), right / number.clamp(min=1)])

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Draw the diagram; on the diagonal, confidence and accuracy agree."""
        number, confidence, right = (self.compute() if val is None else val).cpu()
        figure, axes = plt.subplots() if ax is None else (ax.figure, ax)
        filled = number > 0
        error = float((number * (confidence - right).abs()).sum() / number.sum().clamp(min=1))
        axes.bar((torch.arange(self.num_bins) + 0.5) / self.num_bins, right, 0.9 / self.num_bins, alpha=0.4)
        axes.plot(confidence[filled], right[filled], "o-")
        axes.plot([0, 1], [0, 1], "k--", linewidth=1)
        axes.set(xlabel="confidence", ylabel="right answers", xlim=(0, 1), ylim=(0, 1))
        axes.set_title(f"calibration error {error:.3f}")
        return figure, axes
