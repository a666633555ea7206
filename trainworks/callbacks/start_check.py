import contextlib
import sys
from collections.abc import Collection
from difflib import get_close_matches
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import Strategy
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor

from trainworks.callbacks.last_checkpoint import LastCheckpoint
from trainworks.errors import RunFailure, UsageError, did_you_mean, listed
from trainworks.models.base import BaseModule
from trainworks.models.checks import set_names
from trainworks.models.left_out import PASSIVE, watching
from trainworks.runs.checkpoint_io import METRICS
from trainworks.runs.plain_data import HYPERPARAMETERS, to_plain
from trainworks.runtime.logged_metrics import logged_since, without_classes


class StartCheck(Callback):
    """Check before the first step that every monitored metric will be logged and that checkpoints can be read back.

    Known metrics are those that a `BaseModule` declares and those that the sanity validation logged. Of other modules
    only the first validation tells all; the training may end after it, once it is saved. A scheduler that monitors a
    metric of validation steps only after epochs with a validation. Each checkpoint gets the metrics of its weights.

    Args:
        spare: A ModelCheckpoint that is switched off, without an error, if the metric that it monitors is not logged.
        described: What each checkpoint says of how its module and data were built.

    Raises:
        UsageError: If a step cannot tell several sets apart; if a checkpoint, early stopping or a scheduler monitors an
            unknown metric; or if a checkpoint could not be read back.
    """

    def __init__(self, spare: Any = None, described: dict[str, Any] | None = None) -> None:
        self.spare, self.described = spare, described or {}
        self.best = spare  # the callback that keeps the best checkpoint
        self._default = getattr(spare, "monitor", None)
        self._last: LastCheckpoint | None = None
        self.seen: set[str] = set()  # names of the metrics that validations logged
        self._sanity: set[str] = set()  # and those that the sanity validation logged, which may have other names
        self.started = False  # whether a loop has begun; an error before that comes from a wrong setting
        self._announced: set[str] = set()  # names of what validations log, unless it has no value
        self._before: dict[str, Tensor] = {}  # the metrics before the validation
        self._has_validated = False  # in this epoch
        self._validated: dict[str, float] = {}  # what the last validation logged
        self._validated_step = -1  # after which it was
        self._frequencies: list[tuple[Any, int]] = []  # of the schedulers that monitor a metric

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that the module's steps take the index of the set if there are several, and name the data's classes."""
        names = getattr(trainer.datamodule, "class_names", None)  # type: ignore[attr-defined]
        if isinstance(pl_module, BaseModule) and names:
            pl_module.class_names = list(names)
        if stage == "fit":
            self._keep_best(trainer, pl_module)
        for name, step in (("val", "validation_step"), ("test", "test_step")):
            names = set_names(trainer, name)
            if len(names) > 1 and not is_param_in_hook_signature(getattr(pl_module, step), "dataloader_idx"):
                wanted = f"def {step}(self, batch, batch_idx, dataloader_idx=0) in {type(pl_module).__name__}"
                raise UsageError(f"the data has the sets {', '.join(names)}; write {wanted}")

    def on_train_start(self, trainer: Any, pl_module: LightningModule) -> None:
        """Check every monitored metric, and what will be saved."""
        _check_states(trainer, pl_module)
        self.started, known = True, self.seen or self._sanity
        if isinstance(pl_module, BaseModule):
            self._announced = set(pl_module.metric_names("val") if _validates(trainer) else ())
            known = known | self._announced | set(pl_module.metric_names("train"))
        self._check_monitors(trainer, pl_module, known)
        self._frequencies = [(it, it.frequency) for it in watching(trainer) if getattr(it, "interval", "") == "epoch"]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let schedulers that monitor a validation wait in epochs without one; they step after this hook."""
        known = self.seen | self._announced | self._sanity
        for config, frequency in self._frequencies:
            absent = config.monitor not in trainer.callback_metrics
            may_come = not self.seen and (not known or config.monitor.startswith("val"))
            not_yet = may_come and absent and _validates(trainer)
            waits = not_yet or (config.monitor in known and (absent or not self._has_validated))
            config.frequency = sys.maxsize if waits else frequency
        self._has_validated = False

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the metrics before the loop."""
        self.started, self._before = True, dict(trainer.callback_metrics)

    on_test_start = on_predict_start = on_validation_start

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Say before the training if the network has more outputs than the data has classes."""
        if not trainer.sanity_checking or batch_idx or dataloader_idx or not isinstance(outputs, dict):
            return
        found, targets, data = outputs.get("predictions"), outputs.get("targets"), trainer.datamodule
        count = getattr(data, "num_classes", None) or len(getattr(data, "class_names", None) or ())
        if not isinstance(found, Tensor) or not isinstance(targets, Tensor) or targets.is_floating_point():
            return
        if found.ndim == targets.ndim + 1 and 0 < count < found.shape[1] and trainer.is_global_zero:
            how = 'state it among the arguments of the network, such as num_classes: "${data.init_args.num_classes}"'
            print(f"the network has {found.shape[1]:,} outputs for {count:,} classes of the data; {how}")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note what the validation logged, and check what only a real one can tell."""
        logged = logged_since(self._before, trainer.callback_metrics)
        (self._sanity if trainer.sanity_checking else self.seen).update(logged)
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            is_first, self._validated_step = self._validated_step == -1, trainer.global_step
            self._validated, self._has_validated = logged, True
            if is_first and not isinstance(pl_module, BaseModule):
                self._check_monitors(trainer, pl_module, self.seen)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add how all was built, and the metrics of the weights that are saved, if they were validated."""
        checkpoint |= self.described
        checkpoint[METRICS] = self._validated if trainer.global_step == self._validated_step else {}

    def state_dict(self) -> dict[str, Any]:
        """Return what a continued run cannot know, since it begins without a sanity validation."""
        return {"seen": sorted(self.seen), "fresh": self._has_validated}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.seen, self._has_validated = set(state_dict["seen"]), state_dict["fresh"]

    def adopt_monitor(self, trainer: Trainer, known: Collection[str]) -> None:
        """Let what monitors the default, val/loss, monitor val_loss if that is logged and val/loss is not."""
        similar = str(self._default).replace("/", "_")
        if similar in known and self._default not in known:
            for owner in watching(trainer):
                owner.monitor = similar if owner.monitor == self._default else owner.monitor

    def _keep_best(self, trainer: Any, module: LightningModule) -> None:
        """Take back the best checkpoint, which Lightning drops for one of the module, and let it monitor the same."""
        kept = [callback for callback in trainer.callbacks if isinstance(callback, ModelCheckpoint)]
        own = next((callback for callback in kept if callback.monitor), None)
        self._last = next((callback for callback in trainer.callbacks if isinstance(callback, LastCheckpoint)), None)
        for callback in kept if self._last else ():
            callback.save_last = None  # it would replace a state from which the training goes on exactly
        if self.best is None:
            self.best = own
        elif self.best not in kept:
            self.best.__class__ = type("BestCheckpoint", (type(self.best),), {})  # its state is saved by its class
            trainer.callbacks.insert(trainer.callbacks.index(trainer.checkpoint_callback), self.best)
            if own is not None and self.spare is not None:
                self.best.monitor, self.best.mode, self.best.kth_value = own.monitor, own.mode, own.kth_value
                module.print(f"best.ckpt goes by '{own.monitor}' ({own.mode}), as that of {type(module).__name__} does")

    def _check_monitors(self, trainer: Any, module: LightningModule, known: set[str]) -> None:
        """Refuse what monitors a metric that is not known, if it surely will not be."""
        self.adopt_monitor(trainer, known)
        is_over = self._validated_step >= 0 or not _validates(trainer)  # but a sanity validation shows what is misspelt
        for owner in [owner for owner in watching(trainer) if owner.monitor not in known]:
            is_sure = owner.monitor.startswith("val") and (is_over or get_close_matches(owner.monitor, known, 1, 0.87))
            if isinstance(module, BaseModule) or (is_sure and owner.monitor not in trainer.callback_metrics):
                self._refuse(trainer, module, owner, known)

    def _refuse(self, trainer: Any, module: LightningModule, owner: Any, known: set[str]) -> None:
        """Raise an error, once the state of a training that has begun is saved, or switch the spare checkpoint off."""
        names = ", ".join(sorted(without_classes(dict.fromkeys(known)))) or "nothing"
        what = f"'{owner.monitor}', which {type(module).__name__} does not log"
        if owner is not self.spare:
            message = f"{what}{did_you_mean(owner.monitor, known)}; it logs {names}"
            if owner.monitor.startswith("val") and not _validates(trainer):
                how = "choose a metric of the training, or bring or hold out validation samples (data.val_fraction)"
                message = f"'{owner.monitor}', but there is no validation; {how}"
            error = UsageError(f"{type(getattr(owner, 'scheduler', owner)).__name__} monitors {message}")
            if self._last is None or self._validated_step == -1:
                raise error
            self._last.error, self._frequencies = self._last.error or error, []
            for name in PASSIVE.keys() & vars(owner).keys():
                setattr(owner, name, PASSIVE[name])
            return
        owner.save_top_k = 0
        advice = f"; it logs {names}: choose one with --callbacks.best.monitor" if known else ""
        reason = f"it would monitor {what}{advice}" if _validates(trainer) else "there is no validation"
        module.print(f"no best checkpoint is kept, the last weights count: {reason}")


def _check_states(trainer: Any, module: LightningModule) -> None:
    """Check that all that a checkpoint will hold can be read back, and say which hyperparameters it leaves out."""
    content: dict[str, Any] = {}
    if type(trainer.strategy).optimizer_state is Strategy.optimizer_state:  # a sharded one's would count as a step
        with contextlib.suppress(Exception):  # a hook may need what is not there yet; the first save checks it
            content = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
    if not content:
        owners = [module, *trainer.callbacks, *([] if trainer.datamodule is None else [trainer.datamodule])]
        content = {type(owner).__name__: owner.state_dict() for owner in owners}
        content |= {"optimizer_states": [optimizer.state_dict() for optimizer in trainer.optimizers]}
        content |= {"lr_schedulers": [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs]}
        content |= {module.CHECKPOINT_HYPER_PARAMS_KEY: module.hparams}
    try:
        plain = to_plain(content | content.pop("callbacks", {}))
    except RunFailure as failure:
        raise UsageError(str(failure)) from None
    how = "load_model needs none of it; --trust true keeps it for load_from_checkpoint"
    for key in HYPERPARAMETERS:
        lost = [str(name) for name in content.get(key, ()) if name not in plain.get(key, ())]
        if lost and trainer.is_global_zero:
            print(f"checkpoints leave out {listed(lost)} of {key}, which is no plain data; {how}")


def _validates(trainer: Any) -> bool:
    """Whether there will be a validation with at least one batch."""
    splits = getattr(trainer.datamodule, "splits", None)
    has_data = not splits or any(name.partition("/")[0] == "val" for name in splits)
    is_empty = trainer.val_dataloaders is not None and not sum(trainer.num_val_batches)
    return trainer.enable_validation and has_data and not is_empty
