import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from src.callbacks.helpers.batch import new_values
from src.errors import RunFailure, UsageError, did_you_mean
from src.models.base import BaseModule
from src.models.evaluation_sets import check_steps
from src.runs.checkpoint_io import DESCRIPTION, check_plain


class StartCheck(Callback):
    """See before the first step that every monitored metric will be there, and let schedulers wait for theirs.

    What a `BaseModule` announces and what the sanity validation logged counts as known. A scheduler that watches a
    validation steps only after epochs in which there was one.

    Args:
        spare: A ModelCheckpoint that keeps nothing where nobody logs what it monitors, instead of being an error.

    Attributes:
        description: Class path and arguments of the module, which every checkpoint holds, so that `load_model` can
            rebuild it.
        started: Whether the first batch of any loop has been asked for; an error before that is a wrong setting.
        validated: What the last validation logged, by name.

    Raises:
        UsageError: If a step cannot tell several sets apart; if a checkpoint, early stopping or a scheduler monitors an
            unknown metric; or if `trainer.sync_batchnorm` is on where it does not work.
    """

    def __init__(self, spare: Any = None) -> None:
        self.spare = spare
        self.description: dict[str, Any] = {}
        self.started = False
        self.validated: dict[str, float] = {}
        self._seen: set[str] = set()  # logged by validations
        self._before: dict[str, Tensor] = {}
        self._fresh = False  # whether this epoch has validated
        self._frequencies: list[tuple[Any, int]] = []  # of schedulers that watch a metric

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Look at what several sets, batch norm and DDP need."""
        check_steps(trainer, pl_module)
        strategy: Any = trainer.strategy
        if isinstance(strategy, DDPStrategy) and not pl_module.automatic_optimization:
            strategy._ddp_kwargs["find_unused_parameters"] = True  # each backward pass has gradients for some only
        wanted = getattr(strategy, "_layer_sync", None) is not None
        works = strategy.root_device.type != "cpu" and isinstance(strategy, DDPStrategy)
        if wanted and not works and any(isinstance(layer, _BatchNorm) for layer in pl_module.modules()):
            got = f"{type(strategy).__name__} on {strategy.root_device.type}"
            raise UsageError(f"trainer.sync_batchnorm needs GPUs and the strategy ddp, got {got}; leave it false")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare every monitor with what is known to be logged, and see that what is saved can be read."""
        _check_states(trainer, pl_module)
        self.started = True
        is_ours, validates = isinstance(pl_module, BaseModule), _validates(trainer)
        known = self._seen | {
            name
            for stage in (["train", "val"] if validates else ["train"])
            for name in (pl_module.metric_names(stage) if is_ours else ())  # type: ignore
        }
        for callback, monitor in _monitors(trainer):
            # what another's module logs in training is not known, and without a sanity validation nothing is
            unsure = (not is_ours and not monitor.startswith("val")) or (not known and validates)
            if monitor not in known and not unsure:
                self._refuse(trainer, pl_module, callback, monitor, known)
        plateaus = [config for config in trainer.lr_scheduler_configs if config.reduce_on_plateau]
        self._frequencies = [(config, config.frequency) for config in plateaus if config.interval == "epoch"]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let schedulers that watch a validation step after this epoch if it had one; Lightning asks just after."""
        for config, frequency in self._frequencies:
            watches_validation = config.monitor in self._seen
            comes_later = not self._seen and config.monitor not in trainer.callback_metrics and _validates(trainer)
            waits = comes_later or (watches_validation and not self._fresh)
            config.frequency = sys.maxsize if waits else frequency
        self._fresh = False

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that batches follow."""
        self.started = True
        self._before = dict(trainer.callback_metrics)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note what validation logs, and look for monitors that nothing was known of at the start."""
        logged = new_values(trainer.callback_metrics, self._before)
        self._seen |= logged.keys()
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        self.validated, self._fresh = logged, True
        for callback, monitor in _monitors(trainer):
            if callback is self.spare and monitor not in trainer.callback_metrics:
                self._refuse(trainer, pl_module, callback, monitor, self._seen)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that batches follow."""
        self.started = True

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that batches follow."""
        self.started = True

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Say in the checkpoint how its module is built."""
        checkpoint[DESCRIPTION] = self.description

    def state_dict(self) -> dict[str, Any]:
        """Return what a run that continues could not know, since it begins without a sanity validation."""
        return {"seen": sorted(self._seen), "fresh": self._fresh}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._seen, self._fresh = set(state_dict["seen"]), state_dict["fresh"]

    def _refuse(self, trainer: Trainer, module: LightningModule, owner: Any, monitor: str, known: set[str]) -> None:
        """Stop, or go on without the checkpoints that can be spared."""
        names = ", ".join(sorted(known)) or "nothing"
        what = f"'{monitor}', which {type(module).__name__} does not log"
        if owner is not self.spare:
            near = did_you_mean(monitor, known)
            raise UsageError(f"{type(owner).__name__} monitors {what}{near}; it logs {names}")
        owner.save_top_k, self.spare = 0, None
        if trainer.is_global_zero:
            advice = f"; it logs {names}: choose one with --callbacks.best.monitor" if known else ""
            reason = f"it would monitor {what}{advice}" if _validates(trainer) else "there is no validation"
            print(f"no best checkpoint is kept, the last weights count: {reason}")


def _check_states(trainer: Any, module: LightningModule) -> None:
    """See that module, data and callbacks put nothing into a checkpoint that could not be read back."""
    added: dict[str, Any] = {}
    with contextlib.suppress(Exception):  # it may look for what is not there yet; the first save then tells
        module.on_save_checkpoint(added)
    owners = [module, *trainer.callbacks, *([] if trainer.datamodule is None else [trainer.datamodule])]
    try:
        check_plain(added | {type(owner).__name__: owner.state_dict() for owner in owners})
    except RunFailure as failure:
        raise UsageError(str(failure)) from None


def _validates(trainer: Trainer) -> bool:
    """Whether there will be a validation with at least one batch."""
    splits = getattr(trainer.datamodule, "splits", None)  # type: ignore[attr-defined]
    has_data = not splits or any(name.partition("/")[0] == "val" for name in splits)
    is_empty = trainer.val_dataloaders is not None and not sum(trainer.num_val_batches)
    return trainer.enable_validation and has_data and not is_empty


def _monitors(trainer: Trainer) -> Iterator[tuple[Any, str]]:
    """Yield who monitors what."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    for callback in callbacks:
        if isinstance(monitor := getattr(callback, "monitor", None), str):
            yield callback, monitor
    for config in trainer.lr_scheduler_configs:
        if config.reduce_on_plateau and isinstance(config.monitor, str):
            yield config.scheduler, config.monitor
