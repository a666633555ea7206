import csv
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor


class PredictionWriter(BasePredictionWriter):
    """Write what `predict` returns to predictions.csv: one row a sample, in the order of the data, from all ranks.

    `predict_step` returns a mapping of column names to tensors of shape (B,), or (B, K) for K columns; a bare tensor
    becomes the column `prediction`. Where the datamodule knows them, the columns `file` and `class` hold the sample's
    name and that of the predicted class.

    Args:
        dirpath: Folder of the file; a relative one is inside the run directory.
    """

    def __init__(self, dirpath: str = ".") -> None:
        super().__init__(write_interval="batch")
        self.path = Path(dirpath) / "predictions.csv"
        self._names: list[str] = []
        self._rows: list[list[float | int]] = []

    def write_on_batch_end(
        self, trainer: Any, pl_module: Any, prediction: Any, batch_indices: Any, batch: Any, *numbers: int
    ) -> None:
        """Keep one batch's rows."""
        from trainworks.callbacks.helpers.prediction_table import columns_of  # few runs predict

        columns = columns_of({"prediction": prediction} if isinstance(prediction, Tensor) else prediction)
        self._names = list(columns)
        indices = [int(index) for index in batch_indices or ()]
        self._rows += [list(row) for row in zip(indices, *(c.tolist() for c in columns.values()), strict=True)]

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Collect the rows of all ranks and write them."""
        parts: list[Any] = [self._rows]
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            parts = [None] * trainer.world_size
            torch.distributed.all_gather_object(parts, self._rows)
        if trainer.is_global_zero:
            from trainworks.callbacks.helpers.prediction_table import with_names

            rows = sorted(row for part in parts for row in part)
            names, rows = with_names(["index", *self._names], rows, getattr(trainer, "datamodule", None))
            with self.path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(names)
                writer.writerows(rows)
            print(f"predictions: {self.path}")
        self._rows = []
