import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from src.errors import UsageError


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
        columns = _columns({"prediction": prediction} if isinstance(prediction, Tensor) else prediction)
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
            rows = sorted(row for part in parts for row in part)
            names, rows = _with_names(["index", *self._names], rows, getattr(trainer, "datamodule", None))
            with self.path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(names)
                writer.writerows(rows)
            print(f"predictions: {self.path}")
        self._rows = []


def _with_names(names: list[str], rows: list[list[Any]], data: Any) -> tuple[list[str], list[list[Any]]]:
    """Add the columns that need the datamodule."""
    splits, classes = getattr(data, "splits", {}), getattr(data, "class_names", None)
    samples: Any = splits.get(getattr(data, "predicted", "test"))
    if rows and hasattr(samples, "name") and samples.name(0) is not None:
        names, rows = [*names, "file"], [[*row, samples.name(row[0])] for row in rows]
    if classes and "prediction" in names:
        place = names.index("prediction")
        names, rows = [*names, "class"], [[*row, classes[row[place]]] for row in rows]
    return names, rows


def _columns(prediction: Any) -> dict[str, Tensor]:
    if not isinstance(prediction, Mapping):
        raise UsageError(f"predict_step must return a mapping of names to tensors, got {type(prediction).__name__}")
    columns: dict[str, Tensor] = {}
    for name, values in prediction.items():
        if not isinstance(values, Tensor) or values.ndim not in (1, 2):
            raise UsageError(f"predict_step's '{name}' must be a tensor of shape (B,) or (B, K), got {values!r:.80}")
        parts = {name: values} if values.ndim == 1 else {f"{name}_{k}": values[:, k] for k in range(values.shape[1])}
        columns |= parts
    return columns
