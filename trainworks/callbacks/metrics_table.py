import csv
import io
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from trainworks.callbacks.helpers.epoch_metrics import EpochMetrics
from trainworks.optim.parameters import current_rate
from trainworks.runs.files import write_in_one_step

FIRST_COLUMNS = ("epoch", "step", "seconds", "learning_rate")


class MetricsTable(Callback):
    """Write metrics.csv, a row an epoch with all that its line shows, and draw the rows as curves.png at the end.

    Its first columns are the epoch, from 1, the optimizer steps done at its end, its seconds and the learning rate of
    its last step. A run that continues removes the rows of epochs that are done again.

    Args:
        dirpath: Folder of the files; a relative one is inside the run directory.
        curves: Whether to draw the curves.
    """

    def __init__(self, dirpath: str = ".", curves: bool = True) -> None:
        self.path, self.curves = Path(dirpath) / "metrics.csv", curves
        self.rows: list[dict[str, Any]] = []
        self._epoch = EpochMetrics()
        self._learning_rate: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the rows of the epochs that are done."""
        if trainer.fit_loop.restarted_mid_epoch:  # no hook is called at the start of this epoch
            self._epoch.begin(trainer)
        self.rows = []
        if trainer.is_global_zero and self.path.is_file():
            with self.path.open(newline="", encoding="utf-8") as file:
                rows = [row for row in csv.DictReader(file) if str(row.get("epoch")).isdigit()]
            self.rows = [row for row in rows if int(row["epoch"]) <= trainer.current_epoch]
            self._write()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the row of the epoch before, whose metrics are complete only now, and before its state is saved."""
        self._add_row(trainer)
        self._epoch.begin(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Note the learning rate before a scheduler changes it, which may be after each step."""
        self._learning_rate = current_rate(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the row of the last epoch, and draw the curves."""
        self._add_row(trainer)
        if trainer.is_global_zero and self.curves and len(self.rows) > 1:
            from trainworks.callbacks.helpers.curves import draw_curves
            from trainworks.callbacks.helpers.loggers import never_fatal

            monitored = (getattr(trainer.checkpoint_callback, key, None) for key in ("monitor", "best_model_score"))
            with never_fatal("curves.png"):
                draw_curves(self.rows, FIRST_COLUMNS, *monitored).savefig(self.path.with_name("curves.png"))

    def _add_row(self, trainer: Trainer) -> None:
        ended = self._epoch.end(trainer)
        if ended is None or not trainer.is_global_zero:
            return
        rate = "" if self._learning_rate is None else float(self._learning_rate)
        values = self._epoch.number, trainer.global_step, round(ended[1], 3), rate
        self.rows.append(dict(zip(FIRST_COLUMNS, values, strict=True)) | ended[0])
        self._write()

    def _write(self) -> None:
        """Replace the file by one with all rows; where an epoch lacks a metric, the cell is empty."""
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns or FIRST_COLUMNS)
        writer.writeheader()
        writer.writerows(self.rows)
        try:
            write_in_one_step(self.path, text.getvalue())
        except OSError as error:  # such as a full disk: the training goes on, and the next epoch writes all rows
            print(f"{self.path} could not be written: {error.strerror}")
