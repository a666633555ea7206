from collections.abc import Iterator
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch.nn.modules.batchnorm import _BatchNorm

from src.config import UsageError, did_you_mean


class StartCheck(Callback):
    """Find monitors of metrics that nobody logs, and batch norm that cannot be synchronised, before the first step.

    The module's `metric_names` (if it has them) and what the sanity validation logged count as known.

    Attributes:
        started: Whether the first batch of any loop has been asked for; an error before that is a wrong setting.

    Raises:
        UsageError: If a checkpoint, early stopping or a scheduler monitors an unknown metric, or if
            `trainer.sync_batchnorm` is on where it does not work.
    """

    def __init__(self) -> None:
        self.started = False
        self._seen: set[str] = set()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Look at what batch norm needs."""
        strategy: Any = trainer.strategy
        wanted = getattr(strategy, "_layer_sync", None) is not None
        works = strategy.root_device.type != "cpu" and isinstance(strategy, DDPStrategy)
        if wanted and not works and any(isinstance(layer, _BatchNorm) for layer in pl_module.modules()):
            got = f"{type(strategy).__name__} on {strategy.root_device.type}"
            raise UsageError(f"trainer.sync_batchnorm needs GPUs and the strategy ddp, got {got}; leave it false")

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that batches follow."""
        self.started = True

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note what validation logs."""
        self._seen = set(trainer.callback_metrics)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare every monitor with what is known to be logged."""
        self.started = True
        metric_names = getattr(pl_module, "metric_names", None)
        if metric_names is None and not self._seen:
            return  # a module of another make, and no sanity validation: nothing is known
        stages = ["train", "val"] if trainer.enable_validation else ["train"]
        known = self._seen | {name for stage in stages for name in (metric_names(stage) if metric_names else ())}
        for owner, monitor in _monitors(trainer):
            unsure = metric_names is None and monitor.startswith("train")
            if monitor not in known and not unsure:
                names = ", ".join(sorted(known)) or "nothing"
                raise UsageError(
                    f"{owner} monitors '{monitor}', which {type(pl_module).__name__} does not log"
                    f"{did_you_mean(monitor, known)}; it logs {names}"
                )

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that batches follow."""
        self.started = True

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that batches follow."""
        self.started = True

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that batches follow."""
        self.started = True


def _monitors(trainer: Trainer) -> Iterator[tuple[str, str]]:
    """Yield who monitors what."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    for callback in callbacks:
        monitor = getattr(callback, "monitor", None)
        if isinstance(monitor, str):
            yield type(callback).__name__, monitor
    for config in trainer.lr_scheduler_configs:
        if config.reduce_on_plateau and isinstance(config.monitor, str):
            yield type(config.scheduler).__name__, config.monitor
