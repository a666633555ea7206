import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from trainworks.models.counted import counted_value
from trainworks.models.value_names import example_value, named_values, unwrapped

MAX_BATCHES = 16  # that are joined to one update
MAX_ELEMENTS = 2**14  # of the predictions of a batch that may wait
# packages of metrics that give the same result whether batches come one by one or joined
JOINABLE = ("torchmetrics.classification.", "torchmetrics.regression.", "trainworks.models.metrics")


class LateUpdates:
    """Joins several small batches to one update of metrics: an update takes as long for sixteen batches as for one.

    This needs metrics of torchmetrics.classification and torchmetrics.regression, and tensors as predictions and
    targets. Anything else, and the first batch of an epoch, goes to the metrics immediately.
    """

    def __init__(self, metrics: MetricCollection) -> None:
        self.metrics = metrics
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self._first = True  # whether the next batch is the first of an epoch
        self._example: Any = None  # shapes and types of the first batch, as tensors on the device "meta"
        kinds = [type(metric).__module__ for metric in metrics.values(copy_state=False)]
        self._may_wait = bool(kinds) and all(kind.startswith(JOINABLE) for kind in kinds)

    def update(self, predictions: Any, targets: Any) -> None:
        """Take predictions and targets of one batch; batches that wait are copied."""
        if self._example is None:
            self._example = apply_to_collection((predictions, targets), Tensor, Tensor.to, "meta")
        tensors = isinstance(predictions, Tensor) and isinstance(targets, Tensor) and predictions.ndim > 0
        if self._first or not self._may_wait or not tensors or predictions.numel() > MAX_ELEMENTS:
            self._update_waiting()
            self._first = False
            self._update(predictions, targets)
            return
        shapes = predictions.shape[1:], targets.shape[1:]
        if self._waiting and shapes != tuple(waits.shape[1:] for waits in self._waiting[0]):
            self._update_waiting()
        self._waiting.append((predictions.detach().clone(), targets.clone()))
        if len(self._waiting) == MAX_BATCHES:
            self._update_waiting()

    def compute(self) -> dict[str, Any]:
        """Return the value of each metric that had something to count since the last `reset`."""
        self._update_waiting()
        metrics = {name: unwrapped(metric) for name, metric in self.metrics.items(copy_state=False)}
        with warnings.catch_warnings():  # a metric that shares another's state had no update of its own
            warnings.filterwarnings(
                "ignore", message=".*called before the ``update`` method|No (posi|nega)tive samples"
            )
            values = self._run(lambda: {n: counted_value(m) for n, m in metrics.items()}, self._example, counted_value)
        counted = {name: value for name, value in values.items() if value is not None}
        self._examples |= counted
        return counted

    def named_results(self, class_names: Sequence[str] | None) -> dict[str, Any]:
        """Return the numbers in what `compute` returns, by full name."""
        return self._named(self.compute(), class_names)

    def _named(self, values: dict[str, Any], class_names: Sequence[str] | None) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in values.items():
            part = named_values(name, self.metrics[name], value, class_names)
            if not found.keys().isdisjoint(part):  # two that return dictionaries
                part = {f"{name}_{key.partition('/')[2]}": item for key, item in part.items()}
            found |= part
        return found

    def names(self, class_names: Sequence[str] | None) -> list[str]:
        """Return the names of all numbers that will be among the values."""
        return list(self._named(self._examples, class_names))

    @cached_property
    def _examples(self) -> dict[str, Any]:
        """Values of the form that each metric has."""
        return {name: example_value(metric) for name, metric in self.metrics.items(copy_state=False)}

    def reset(self) -> None:
        """Forget all batches."""
        self._waiting.clear()
        self.metrics.reset()
        self._first = True

    def state(self) -> dict[str, Any]:
        """Return the metric state and the batches that wait, on the CPU."""
        metrics = self.metrics.items(keep_base=True, copy_state=False)
        states = {name: (metric.metric_state, metric.update_count) for name, metric in metrics}
        return apply_to_collection({"metrics": states, "waiting": list(self._waiting)}, Tensor, Tensor.cpu)

    def load(self, state: dict[str, Any], device: torch.device) -> None:
        """Continue from what `state` returned."""
        state = apply_to_collection(state, Tensor, Tensor.to, device)
        self._waiting = list(state["waiting"])
        for name, metric in self.metrics.items(keep_base=True, copy_state=False):
            states, metric._update_count = state["metrics"][name]
            self._first = not metric.update_count
            for attribute, value in states.items():
                setattr(metric, attribute, value)

    def _update_waiting(self) -> None:
        if self._waiting:
            predictions, targets = (torch.cat(parts) for parts in zip(*self._waiting, strict=True))
            self._waiting.clear()
            self._update(predictions, targets)

    def _update(self, *given: Any) -> None:
        self._run(lambda: self.metrics.update(*given), given, lambda metric: metric.clone().update(*given))

    def _run(self, work: Callable[[], Any], given: Any, probe: Callable[[Metric], Any]) -> Any:
        """Call `work`; if it fails, name the metric for which `probe` fails, and say why."""
        try:
            return work()
        except Exception as error:  # metrics raise errors of many kinds, some only in `compute`
            from trainworks.models.misfit import metric_error

            raise metric_error(self.metrics, given, error, probe) from error
