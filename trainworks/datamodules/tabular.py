from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainworks.datamodules.base import BaseDataModule
from trainworks.datamodules.datasets.tables import read_rows
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

    @property
    def reads_images(self) -> bool:
        """Whether the arrays are images; they are rows where nothing is known."""
        return self.input_shape is not None and super().reads_images

    def sources(self, given: Any) -> Sequence[Any]:
        """Return the rows of a CSV table (all its columns where no names are known), or the items of what was given."""
        if isinstance(given, str | Path) and Path(given).suffix.lower() in (".csv", ".tsv"):
            return read_rows(str(given), self.columns or ())
        return super().sources(given)

    def read(self, source: Any) -> Any:
        """Return an input, of a table also given by a mapping from its columns."""
        if isinstance(source, Mapping):
            if self.columns is None:
                raise UsageError("this data has no column names; give the numbers of a row in their order")
            if missing := [name for name in self.columns if name not in source]:
                raise UsageError(f"a row needs the columns {', '.join(self.columns)}; missing: {', '.join(missing)}")
            try:
                source = [float(source[name]) for name in self.columns]
            except (TypeError, ValueError) as error:
                raise UsageError(f"a row must have a number for each column, got {source!r:.200} ({error})") from None
        return super().read(source)

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
