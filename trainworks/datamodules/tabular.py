from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainworks.datamodules.base import BaseDataModule
from trainworks.datamodules.datasets.tables import read_csv, to_numbers
from trainworks.errors import UsageError


@dataclass(kw_only=True, eq=False, repr=False)
class TabularDataModule(BaseDataModule):
    """What datamodules of numbers share: facts that networks need, read from the training samples if left out.

    Args:
        num_features: Numbers in one sample's inputs.
        num_targets: Numbers in one sample's targets.
        target_mean: Mean of each target, for targets that are values.
        target_std: Standard deviation of each; 1 for a target that never changes.
    """

    num_features: int | None = None
    num_targets: int | None = None
    target_mean: list[float] | None = None
    target_std: list[float] | None = None

    def sources(self, given: Any) -> Any:
        """Return the rows of a CSV table, all its columns where no names are known, or what was given one by one."""
        if isinstance(given, str | Path) and Path(given).suffix.lower() in (".csv", ".tsv"):
            chunks = [
                {k: chunk[k] for k in self.columns or chunk} for chunk in read_csv(str(given), self.columns or ())
            ]
            rows = [np.stack([to_numbers(str(given), *column) for column in chunk.items()], axis=1) for chunk in chunks]
            return np.concatenate(rows) if rows else []
        several = isinstance(given, list | tuple | np.ndarray | Tensor) and len(given) and not np.isscalar(given[0])
        return list(given) if several else [given]

    def read(self, source: Any) -> Any:
        """Return a row as numbers: a mapping from the table's columns, or the numbers in their order."""
        if self.input_shape is not None and len(self.input_shape) != 1:
            return super().read(source)
        return row_of(source, self.columns, self.input_shape[0] if self.input_shape else self.num_features)

    def facts_of(self, train: Any) -> dict[str, Any]:
        """Return what may be left out."""
        targets = train.targets.reshape(len(train), -1)
        found = {"num_features": train[0][0].numel(), "num_targets": targets.shape[1]}
        if targets.is_floating_point():
            std = targets.double().std(dim=0, correction=0)
            found |= {"target_mean": targets.double().mean(dim=0).tolist()}
            found |= {"target_std": std.where(std > 0, 1.0).tolist()}
            if "num_classes" in self.wanted:
                how = "take configs/diabetes.yaml with --data trainworks.datamodules.ArrayDataModule"
                raise UsageError(f"the configuration is for classes, and the targets are values; {how}")
        return super().facts_of(train) | found


def row_of(source: Any, columns: list[str] | None, num_features: int | None) -> Tensor:
    """Return a row of a table, a mapping from columns or numbers in their order, as float32, shape (num_features,)."""
    if isinstance(source, Mapping):
        if columns is None:
            raise UsageError("this data has no names of columns; give the numbers of a row in their order")
        if missing := [name for name in columns if name not in source]:
            raise UsageError(f"a row needs the columns {', '.join(columns)}; missing: {', '.join(missing)}")
        source = [float(source[name]) for name in columns]
    numbers = torch.as_tensor(np.asarray(source, dtype=np.float32))
    if numbers.ndim != 1 or len(numbers) != (num_features or len(numbers)):
        raise UsageError(f"a row must have {num_features} numbers, got {tuple(numbers.shape)}")
    return numbers
