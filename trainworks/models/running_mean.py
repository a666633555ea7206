from collections.abc import Callable

import torch
from torch import Tensor


class RunningMean:
    """Weighted mean of a scalar, summed on its device and read only by `compute`.

    torchmetrics.MeanMetric checks each value, and so waits for the device in each step.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all values."""
        self._total: Tensor | None = None
        self._count = 0

    def update(self, value: Tensor, count: int) -> None:
        """Add the mean of `count` samples, shape ()."""
        value = value.float()
        self._total = value * count if self._total is None else torch.add(self._total, value, alpha=count)
        self._count += count

    def state(self) -> tuple[Tensor | None, int]:
        """Return the sum so far, on the CPU, and the count."""
        return None if self._total is None else self._total.cpu(), self._count

    def load(self, state: tuple[Tensor | None, int], device: torch.device) -> None:
        """Continue from what `state` returned."""
        total, self._count = state
        self._total = None if total is None else total.to(device)

    def compute(self, reduce: Callable[..., Tensor]) -> Tensor:
        """Return the mean over all ranks, shape (), by Lightning's `strategy.reduce`; NaN before the first update."""
        if self._total is None:
            return torch.tensor(torch.nan)
        sums = torch.stack([self._total, torch.full_like(self._total, self._count)])
        sums = reduce(sums, reduce_op="sum")
        return sums[0] / sums[1]
