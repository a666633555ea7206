from collections.abc import Callable
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor
from torchmetrics import Metric, MetricCollection

MOST, LARGEST = 16, 2**14  # batches that wait, and elements of one that may
# whose states do not ask where a batch ends
SUMS = ("torchmetrics.classification.", "torchmetrics.regression.", "trainworks.models.metrics")


class LateUpdates:
    """Hands several small batches to metrics at once: an update takes as long for one as for sixteen.

    Only where all metrics are of torchmetrics.classification and torchmetrics.regression, and predictions and targets
    are tensors; anything else, and the first batch of an epoch, goes to them at once.

    Args:
        metrics: Get the batches.
    """

    def __init__(self, metrics: MetricCollection) -> None:
        self.metrics = metrics
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self._first = True  # batch of an epoch
        self._given: Any = None  # what they got first, as tensors without content
        kinds = [type(metric).__module__ for metric in metrics.values(copy_state=False)]
        self._may_wait = bool(kinds) and all(kind.startswith(SUMS) for kind in kinds)

    def update(self, predictions: Any, targets: Any) -> None:
        """Take the predictions and targets of one batch; both are copied where they wait."""
        if self._given is None:
            self._given = apply_to_collection((predictions, targets), Tensor, Tensor.to, "meta")
        both = self._may_wait and isinstance(predictions, Tensor) and isinstance(targets, Tensor)
        if self._first or not both or not predictions.ndim or predictions.numel() > LARGEST:
            self._hand_over()
            self._first = False
            self._update(predictions, targets)
            return
        shapes = predictions.shape[1:], targets.shape[1:]
        if self._waiting and shapes != tuple(waits.shape[1:] for waits in self._waiting[0]):
            self._hand_over()
        self._waiting.append((predictions.detach().clone(), targets.clone()))
        if len(self._waiting) == MOST:
            self._hand_over()

    def compute(self) -> dict[str, Tensor]:
        """Return the values over all batches since the last `reset`."""
        self._hand_over()
        return dict(self._told(self.metrics.compute, self._given, lambda metric: metric.compute()))

    def reset(self) -> None:
        """Start anew."""
        self._waiting.clear()
        self.metrics.reset()
        self._first = True

    def state(self) -> dict[str, Any]:
        """Return all that was taken since the last `reset`, on the CPU."""
        metrics = self.metrics.items(keep_base=True, copy_state=False)
        states = {name: (metric.metric_state, metric.update_count) for name, metric in metrics}
        return apply_to_collection({"metrics": states, "waiting": list(self._waiting)}, Tensor, Tensor.cpu)

    def load(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on from what `state` returned."""
        state = apply_to_collection(state, Tensor, Tensor.to, device)
        self._waiting = list(state["waiting"])
        for name, metric in self.metrics.items(keep_base=True, copy_state=False):
            states, metric._update_count = state["metrics"][name]
            self._first = not metric.update_count
            for attribute, value in states.items():
                setattr(metric, attribute, value)

    def _hand_over(self) -> None:
        if self._waiting:
            predictions, targets = (torch.cat(parts) for parts in zip(*self._waiting, strict=True))
            self._waiting.clear()
            self._update(predictions, targets)

    def _update(self, *given: Any) -> None:
        self._told(lambda: self.metrics.update(*given), given, lambda metric: metric.clone().update(*given))

    def _told(self, work: Callable[[], Any], given: Any, probe: Callable[[Metric], Any]) -> Any:
        """Do something with the metrics; say which of them could not, and why."""
        try:
            return work()
        except Exception as error:  # whatever a metric says of what it cannot take; some notice only in `compute`
            from trainworks.models.misfit import misfit

            raise misfit(self.metrics, given, error, probe) from error
