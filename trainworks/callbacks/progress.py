import math
import sys
import time
from datetime import timedelta
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from tqdm import tqdm

from trainworks.callbacks.helpers.batch import batch_size, loss_of
from trainworks.callbacks.helpers.epoch_metrics import EpochMetrics
from trainworks.runtime.logged_metrics import logged_since, without_classes


class ProgressPrinter(ProgressBar):
    """Print one line an epoch with every metric, and show a progress bar within long epochs.

    The bar is drawn on a terminal only; in a pipe or a log file a plain line is printed now and then instead. Both show
    this step's loss, the last validation's first metric, samples per second, and the remaining time. The loss is read
    from the device only when it is shown.

    Args:
        refresh_seconds: Minimum time between two updates of the bar.
        line_seconds: Minimum time between two plain lines where there is no terminal.
    """

    def __init__(self, refresh_seconds: float = 0.2, line_seconds: float = 60.0) -> None:
        super().__init__()
        if refresh_seconds <= 0 or line_seconds <= 0:
            raise ValueError(f"refresh_seconds and line_seconds must be above 0, got {refresh_seconds}, {line_seconds}")
        self.refresh_seconds, self.line_seconds = refresh_seconds, line_seconds
        self.is_enabled = True  # `self.print` of a LightningModule asks for it
        self._bar: tqdm[Any] | None = None
        self._next_update = time.perf_counter() + self._interval
        self._epoch_name = ""
        self._epoch = EpochMetrics()
        self._best: Any = None
        self._before_validation: dict[str, Any] = {}
        self._validation_metrics: list[str] = []  # names of what the last validation logged
        self._num_batches = 0  # trained on by this process
        self._train_start = self._validation_start = self._validation_seconds = 0.0

    def disable(self) -> None:
        """Show nothing; Lightning calls this on every rank but the first."""
        self.is_enabled = False

    def enable(self) -> None:
        """Show progress."""
        self.is_enabled = True

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar."""
        if self.is_enabled:
            self._close_bar()
            print(*args, **kwargs)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the line of the previous epoch, whose metrics are complete only now."""
        self._print_epoch()
        self._begin_epoch(trainer)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Show the progress of the epoch."""
        self._num_batches += 1
        if time.perf_counter() >= self._next_update:
            loss = loss_of(outputs)
            # Lightning divided it by the number of accumulated batches
            shown = [] if loss is None else [f"train/loss_step {float(loss) * trainer.accumulate_grad_batches:.4f}"]
            shown += [f"{name} {float(trainer.callback_metrics[name]):.4f}" for name in self._validation_metrics[:1]]
            seconds = time.perf_counter() - self._train_start - self._validation_seconds
            samples = self._num_batches * batch_size(batch) * trainer.world_size
            shown += [f"{samples / seconds:,.0f} samples/s"] if samples else []
            shown += self._time_left(trainer)
            self._update(self._epoch_name, batch_idx + 1, trainer.num_training_batches, ", ".join(shown))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the counters of this process."""
        self._num_batches, self._validation_seconds = 0, 0.0
        self._best = getattr(trainer.checkpoint_callback, "best_model_score", None)
        self._train_start = time.perf_counter()
        if trainer.fit_loop.restarted_mid_epoch:  # no hook is called at the start of this epoch
            self._begin_epoch(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note when a validation starts, and the metrics before it."""
        self._validation_start = time.perf_counter()
        self._before_validation = dict(trainer.callback_metrics)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add up the time of validations, and note which metrics they log."""
        self._validation_seconds += time.perf_counter() - self._validation_start
        logged = without_classes(logged_since(self._before_validation, trainer.callback_metrics))
        names = [] if trainer.sanity_checking else sorted(logged, key=lambda name: name.endswith("loss"))
        self._validation_metrics = names

    def on_validation_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Show the progress of a validation, test or prediction."""
        if time.perf_counter() >= self._next_update and not trainer.sanity_checking:
            running = trainer.state.fn.value if trainer.state.fn else ""
            totals = {"test": trainer.num_test_batches, "predict": trainer.num_predict_batches}
            name = f"{self._epoch_name} validation" if running == "fit" else running
            self._update(name, batch_idx + 1, totals.get(running, trainer.num_val_batches)[dataloader_idx])

    on_test_batch_end = on_predict_batch_end = on_validation_batch_end

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remove the bar."""
        self._close_bar()

    @property
    def _interval(self) -> float:
        return self.refresh_seconds if _redraws() else self.line_seconds

    def _time_left(self, trainer: Any) -> list[str]:
        """Return the remaining time at this pace, validations included, if the end of the training is known."""
        epochs = math.inf if trainer.max_epochs in (None, -1) else trainer.max_epochs
        batches = epochs * trainer.num_training_batches
        if trainer.max_steps != -1:
            batches_per_step = trainer.accumulate_grad_batches
            if not trainer.lightning_module.automatic_optimization:  # then the steps of all optimizers count
                batches_per_step = (trainer.fit_loop.total_batch_idx + 1) / max(trainer.global_step, 1)
            batches = min(batches, trainer.max_steps * batches_per_step)
        if batches == math.inf:
            return []
        seconds_per_batch = (time.perf_counter() - self._train_start) / self._num_batches
        seconds = max(batches - trainer.fit_loop.total_batch_idx - 1, 0) * seconds_per_batch
        return [f"{timedelta(seconds=round(seconds))} left"]

    def _begin_epoch(self, trainer: Trainer) -> None:
        last = "" if trainer.max_epochs in (None, -1) else f"/{trainer.max_epochs}"
        self._epoch.begin(trainer)
        self._epoch_name = f"epoch {self._epoch.number:>{max(len(last) - 1, 1)}}{last}"

    def _update(self, name: str, done: int, total: int | float, shown: str = "") -> None:
        self._next_update = time.perf_counter() + self._interval
        if not self.is_enabled:
            return
        if not _redraws():
            print(f"{name}  batch {done}/{total}  {shown}".rstrip(), flush=True)
            return
        if self._bar is None or self._bar.desc != name or self._bar.n > done:
            self._close_bar()
            form = "{l_bar}{bar}| {n_fmt}/{total_fmt}{postfix}"
            self._bar = tqdm(desc=name, total=total, leave=False, dynamic_ncols=True, file=sys.stderr, bar_format=form)
        self._bar.n = done
        self._bar.set_postfix_str(shown)

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _print_epoch(self, *_: Any) -> None:
        if (ended := self._epoch.end(self.trainer)) is None:
            return
        columns = [f"{name} {value:.4f}" for name, value in ended[0].items()]
        before, self._best = self._best, getattr(self.trainer.checkpoint_callback, "best_model_score", None)
        best = ["best"] if self._best is not before else []
        self.print("  ".join([self._epoch_name, *columns, f"{ended[1]:.1f} s", *best]), flush=True)

    on_train_end = _print_epoch  # type: ignore[assignment]


def _redraws() -> bool:
    """Whether what is shown can be drawn over: a terminal, or a notebook."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", bool)()
    return sys.stderr.isatty() or type(shell).__name__ == "ZMQInteractiveShell"
