import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from trainworks.errors import UsageError


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
        columns = columns_of({"prediction": prediction} if isinstance(prediction, Tensor) else prediction)
        self._names = list(columns)
        indices = [int(index) for index in batch_indices or ()]
        self._rows += [list(row) for row in zip(indices, *(c.tolist() for c in columns.values()), strict=True)]

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Collect the rows of all ranks and write them."""
        parts: list[Any] = [self._rows]
        if trainer.world_size > 1:
            parts = [None] * trainer.world_size
            dist.all_gather_object(parts, self._rows)
        names, rows = ["index", *self._names], sorted(row for part in parts for row in part)
        self._rows = []
        if not trainer.is_global_zero:
            return
        data: Any = getattr(trainer, "datamodule", None)
        samples: Any = getattr(data, "splits", {}).get(getattr(data, "predicted", "test"))
        classes = getattr(data, "class_names", None)
        if rows and hasattr(samples, "name") and samples.name(0) is not None:
            names, rows = [*names, "file"], [[*row, samples.name(row[0])] for row in rows]
        if classes and "prediction" in names:
            place = names.index("prediction")
            names, rows = [*names, "class"], [[*row, classes[row[place]]] for row in rows]
        with self.path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(names)
            writer.writerows(rows)
        print(f"predictions: {self.path}")


def columns_of(prediction: Any) -> dict[str, Tensor]:
    """Return the columns that `predict_step` gave, each of shape (B,)."""
    if not isinstance(prediction, Mapping):
        raise UsageError(f"predict_step must return a mapping of names to tensors, got {type(prediction).__name__}")
    columns: dict[str, Tensor] = {}
    for name, values in prediction.items():
        if not isinstance(values, Tensor) or values.ndim not in (1, 2):
            raise UsageError(f"predict_step's '{name}' must be a tensor of shape (B,) or (B, K), got {values!r:.80}")
        columns |= {name: values} if values.ndim == 1 else {f"{name}_{k}": column for k, column in enumerate(values.T)}
    return columns
