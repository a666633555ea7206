import time
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import LearningRateMonitor

from trainworks.runtime.logged_metrics import logged_since, without_classes


class EpochMetrics:
    """What was logged since an epoch began, but for single classes, and how long it took."""

    def __init__(self) -> None:
        self._before: dict[str, Any] = {}  # the metrics when the epoch began
        self._start: float | None = None
        self.number = 0  # of the epoch, from 1

    def begin(self, trainer: Trainer) -> None:
        """Note the beginning of an epoch, or of what is left of one."""
        self._before, self._start = dict(trainer.callback_metrics), time.perf_counter()
        self.number = trainer.current_epoch + 1

    def end(self, trainer: Trainer) -> tuple[dict[str, float], float] | None:
        """Return metrics and seconds of the epoch that is over, None if there is none since the last time."""
        if self._start is None:
            return None
        seconds, self._start = time.perf_counter() - self._start, None
        metrics = without_classes(logged_since(self._before, trainer.callback_metrics))
        # LearningRateMonitor puts values of steps among the metrics, in some epochs none
        found = [part for part in trainer.callbacks if isinstance(part, LearningRateMonitor)]  # type: ignore[attr-defined]
        rates = {key for part in found for key in part.lrs | part.last_momentum_values | part.last_weight_decay_values}
        return {name: value for name, value in sorted(metrics.items(), key=_by_metric) if name not in rates}, seconds


def _by_metric(item: tuple[str, float]) -> tuple[str, bool, str]:
    """Return a sort key: by metric, train before val."""
    stage, _, metric = item[0].rpartition("/")
    return metric, stage != "train", stage
