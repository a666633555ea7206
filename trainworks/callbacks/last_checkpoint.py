import os
import shutil
import signal
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from trainworks.datamodules.base import BaseDataModule
from trainworks.runs.continuing.loaders import LoaderOrder
from trainworks.runs.continuing.state import EXACT_STATE, complete_progress, exact_state, restore, with_moved_paths
from trainworks.runs.files import replace
from trainworks.runtime.devices import device_name
from trainworks.runtime.signals import STOP, TERMINAL_SIGNALS, Stopped


class LastCheckpoint(Checkpoint):
    """Keep the newest state of the training as last.ckpt, from which it continues to the very same weights.

    A state is saved only between two optimizer steps, when everything that belongs to the step before is done: the
    validation after it, schedulers, logging. That is at the start of a batch or of an epoch, and at the end. Then the
    counters, the metric states of the running epoch and the generators are enough to go on exactly. A signal that asks
    the run to stop is obeyed at such a point too, after saving; see trainworks/runtime/signals.py.

    Args:
        dirpath: Folder of the checkpoints; a relative one is inside the run directory.
        every_n_epochs: Save after so many epochs; 0 for never, but at the end it is always saved.
        every_n_steps: Save after so many optimizer steps; null for never.
        every_n_minutes: Save when so much time has passed since the last time; null for never.
        num_older: So many states before the last are kept, as last-1.ckpt (the newest of them), last-2.ckpt, ...
    """

    def __init__(
        self,
        dirpath: str = "checkpoints",
        every_n_epochs: int = 1,
        every_n_steps: int | None = None,
        every_n_minutes: float | None = 10.0,
        num_older: int = 1,
    ) -> None:
        often = (1 if every_n_steps is None else every_n_steps, 1 if every_n_minutes is None else every_n_minutes)
        if every_n_epochs < 0 or num_older < 0 or often[0] < 1 or often[1] <= 0:
            wanted = "every_n_epochs and num_older must be at least 0, every_n_steps 1, every_n_minutes above 0"
            got = f"{every_n_epochs}, {num_older}, {every_n_steps}, {every_n_minutes}"
            raise ValueError(f"LastCheckpoint: {wanted}; got {got}")
        self.path = Path(dirpath) / "last.ckpt"
        self.every_n_epochs, self.every_n_steps = every_n_epochs, every_n_steps
        self.every_n_minutes, self.num_older = every_n_minutes, num_older
        self.enabled = True
        self.error: Exception | None = None  # with which the training ends, once a state is saved from which it goes on
        self._point: str | None = None  # where in the training the state is saved just now
        self._loaded: dict[str, Any] | None = None
        self._handlers: dict[Any, Any] = {}  # of signals before the training
        self._agreement: Any = None  # where there are several ranks
        self._wanted = 0  # 1: save, as so much time has passed; a signal's number + 1: save and stop; 0: neither

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Continue where the loaded state ended, if one was loaded, and begin to listen for signals."""
        self._saved_step, self._saved_time, self._wanted = trainer.global_step, time.monotonic(), 0
        if trainer.world_size > 1:
            from trainworks.runtime.agreement import Agreement

            self._agreement = Agreement()
        self._order = LoaderOrder(trainer)
        data: Any = trainer.datamodule or pl_module  # type: ignore[attr-defined]
        if trainer.is_global_zero and not isinstance(data, BaseDataModule):
            print(f"{type(data).__name__} brings its own loaders: a run that is stopped {self._order.promise()}")
        if self._loaded is not None:
            restore(self._order, self._loaded)
            self._loaded = None
        # Lightning has just put its own handlers in place, which can hang under DDP (its issue 20806)
        self._handlers = STOP.install()
        STOP.deferred = True

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Save or stop between two steps, if it is time to."""
        self._order.begin(is_epoch=False)
        late = self.every_n_minutes is not None and time.monotonic() - self._saved_time > 60 * self.every_n_minutes
        wish = STOP.signum + 1 if STOP.signum else int(late)
        self._wanted = max(self._wanted, wish if self._agreement is None else self._agreement.exchange(wish))
        if batch_idx % trainer.accumulate_grad_batches:
            return  # within a window of accumulation the gradients would be lost
        steps = self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0
        if self._wanted or self.error or (steps and trainer.global_step != self._saved_step):
            self._save(trainer, "batch")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save or stop between two epochs, if it is time to."""
        self._order.begin(is_epoch=True)
        epoch = trainer.current_epoch
        due = self.every_n_epochs and epoch % self.every_n_epochs == 0 and trainer.global_step != self._saved_step
        if epoch and (due or self._wanted or self.error):
            self._save(trainer, "epoch")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let a signal end a validation at once where no other process waits; nothing but time is lost."""
        STOP.deferred = STOP.deferred and trainer.world_size > 1
        if STOP.signum and not STOP.deferred and not trainer.sanity_checking:
            raise Stopped(STOP.signum)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen for signals between the steps again."""
        STOP.deferred = not trainer.sanity_checking and trainer.state.fn == "fit"

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end."""
        self._save(trainer, "end")
        self._stop_listening()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stop listening."""
        self._stop_listening()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add what an exact continuation needs; this is called on every rank."""
        if self._point is None:  # another callback saves, at a point that is none of ours
            return
        complete_progress(checkpoint["loops"]["fit_loop"], self._point)
        group = None if self._agreement is None else self._agreement.group
        checkpoint[EXACT_STATE] = exact_state(self._order, self._point, self.path.parent, device_name(trainer), group)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep what `on_train_start` needs; in a run that was moved, let the other callbacks find their files."""
        self._loaded = checkpoint.get(EXACT_STATE)
        if self._loaded is not None:
            folders = self._loaded["folder"], os.path.realpath(self.path.parent)
            checkpoint["callbacks"] = with_moved_paths(checkpoint["callbacks"], *folders)

    def _save(self, trainer: Trainer, point: str) -> None:
        wanted, self._wanted = self._wanted, 0
        if self.enabled:
            if trainer.is_global_zero:
                for logger in trainer.loggers:
                    getattr(getattr(logger, "experiment", None), "flush", lambda: None)()
                getattr(trainer.strategy.checkpoint_io, "wait", lambda: None)()  # what is still being written
                self._rotate()
            self._point = point
            try:
                trainer.save_checkpoint(self.path, weights_only=False)
            finally:
                self._point = None
        self._saved_step, self._saved_time = trainer.global_step, time.monotonic()
        if self.error is not None:
            raise self.error
        if wanted > 1:
            raise Stopped(wanted - 1)

    def _stop_listening(self) -> None:
        """Give Ctrl-C back to who handled it before; Lightning itself puts back the handlers that it replaced."""
        STOP.deferred, handlers, self._handlers = False, self._handlers, {}
        for signum in handlers.keys() & TERMINAL_SIGNALS:
            signal.signal(signum, handlers[signum])

    def _rotate(self) -> None:
        """Keep the files before; last.ckpt itself stays in place until it is replaced."""
        names = [self.path, *(self.path.with_name(f"last-{age + 1}.ckpt") for age in range(self.num_older))]
        for newer, older in reversed(list(pairwise(names))):
            if newer.exists():
                temporary = newer if newer.is_dir() else older.with_suffix(".tmp")
                if temporary is not newer:
                    temporary.unlink(missing_ok=True)
                    try:
                        os.link(newer, temporary)
                    except OSError:  # a file system without links
                        shutil.copyfile(newer, temporary)
                replace(temporary, older)
