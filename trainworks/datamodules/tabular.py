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
    """The base of datamodules of numbers: sizes and scales that networks need, read from the data if left out.

    Args:
        num_features: Number of values in the inputs of one sample.
        num_targets: Number of values in the targets of one sample.
        target_mean: Mean of each target over the training samples, for regression.
        target_std: Standard deviation of each; 1 for a target that is constant.
    """

    num_features: int | None = None
    num_targets: int | None = None
    target_mean: list[float] | None = None
    target_std: list[float] | None = None

    def sources(self, given: Any) -> Any:
        """Return the rows of a CSV table (all its columns where no names are known), or the items of what was given."""
        if isinstance(given, str | Path) and Path(given).suffix.lower() in (".csv", ".tsv"):
            path, names = str(given), self.columns or ()
            tables = read_csv(path, names)
            chunks = [[to_numbers(path, k, chunk[k], line) for k in names or chunk] for line, chunk in tables]
            return np.concatenate(chunks, axis=1).T if chunks else []
        if isinstance(given, np.ndarray | Tensor):
            return list(given) if given.ndim > 1 else [given]
        return list(given) if isinstance(given, list | tuple) and given and not np.isscalar(given[0]) else [given]

    def read(self, source: Any) -> Any:
        """Return a row as numbers, given a mapping from the table's columns or the numbers in their order."""
        if self.input_shape is not None and len(self.input_shape) != 1:
            return super().read(source)
        num_features = self.input_shape[0] if self.input_shape else self.num_features
        if isinstance(source, Mapping):
            if self.columns is None:
                raise UsageError("this data has no column names; give the numbers of a row in their order")
            if missing := [name for name in self.columns if name not in source]:
                raise UsageError(f"a row needs the columns {', '.join(self.columns)}; missing: {', '.join(missing)}")
            source = [float(source[name]) for name in self.columns]
        try:
            numbers = torch.as_tensor(np.asarray(source, dtype=np.float32))
        except (TypeError, ValueError):
            raise UsageError(f"{source!r:.80} is no row of numbers; write a table (.csv or .tsv) or numbers") from None
        if numbers.ndim != 1 or len(numbers) != (num_features or len(numbers)):
            raise UsageError(f"a row must have {num_features} numbers, got {tuple(numbers.shape)}")
        return numbers

    def facts_of(self, train: Any) -> dict[str, Any]:
        """Read sizes and scales from the training samples."""
        targets = train.targets.reshape(len(train), -1)
        facts = {"num_features": train[0][0].numel(), "num_targets": targets.shape[1]}
        if targets.is_floating_point():
            std = targets.double().std(dim=0, correction=0)
            facts |= {"target_mean": targets.double().mean(dim=0).tolist()}
            facts |= {"target_std": std.where(std > 0, 1.0).tolist()}
            if "num_classes" in self.wanted and train.targets.ndim == 1:
                how = "values are for a regressor, as in the template's configs/diabetes.yaml"
                raise UsageError(f"the configuration is for classes, and the targets are values; {how}")
        return super().facts_of(train) | facts
