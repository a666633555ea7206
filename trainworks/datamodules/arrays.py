from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainworks.datamodules.base import BaseDataModule
from trainworks.datamodules.datasets.array_dataset import ArrayDataset
from trainworks.datamodules.datasets.tables import read_csv, to_numbers
from trainworks.errors import UsageError, did_you_mean, no_such_file

EXTRA = ("groups", "weights")
CLASSES = {"num_classes", "class_names", "class_weights"}  # arguments that only a classification has


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
            path, names = str(given), self.columns or ()
            chunks = read_csv(path, names)
            rows = [np.stack([to_numbers(path, k, chunk[k]) for k in names or chunk], axis=1) for chunk in chunks]
            return np.concatenate(rows) if rows else []
        several = isinstance(given, list | tuple | np.ndarray | Tensor) and len(given) and not np.isscalar(given[0])
        return list(given) if several else [given]

    def read(self, source: Any) -> Any:
        """Return a row as numbers: a mapping from the table's columns, or the numbers in their order."""
        if self.input_shape is not None and len(self.input_shape) != 1:
            return super().read(source)
        num_features = self.input_shape[0] if self.input_shape else self.num_features
        if isinstance(source, Mapping):
            if self.columns is None:
                raise UsageError("this data has no names of columns; give the numbers of a row in their order")
            if missing := [name for name in self.columns if name not in source]:
                raise UsageError(f"a row needs the columns {', '.join(self.columns)}; missing: {', '.join(missing)}")
            source = [float(source[name]) for name in self.columns]
        numbers = torch.as_tensor(np.asarray(source, dtype=np.float32))
        if numbers.ndim != 1 or len(numbers) != (num_features or len(numbers)):
            raise UsageError(f"a row must have {num_features} numbers, got {tuple(numbers.shape)}")
        return numbers

    def facts_of(self, train: Any) -> dict[str, Any]:
        """Return what may be left out."""
        targets = train.targets.reshape(len(train), -1)
        found = {"num_features": train[0][0].numel(), "num_targets": targets.shape[1]}
        if targets.is_floating_point():
            std = targets.double().std(dim=0, correction=0)
            found |= {"target_mean": targets.double().mean(dim=0).tolist()}
            found |= {"target_std": std.where(std > 0, 1.0).tolist()}
            if "num_classes" in self.wanted:
                how = "take the template's configs/diabetes.yaml with --data trainworks.datamodules.ArrayDataModule"
                raise UsageError(f"the configuration is for classes, and the targets are values; {how}")
        return super().facts_of(train) | found


@dataclass(kw_only=True, eq=False, repr=False)
class ArrayDataModule(TabularDataModule):
    """Arrays from files: .npz, a folder of .npy files (which are mapped, not read), .pt, or a CSV table.

    An .npz or .pt file holds arrays by name, a folder one `<name>.npy` each: `inputs` and `targets` and, if wanted,
    `groups` (samples of one group never come apart in a split) and `weights` (for weighted sampling). In a table each
    column with a name that is none of these is a feature. Integer or text targets are classes, others are values; whole
    numbers are classes too where the configuration has to do with classes, such as 1.0 in a table.

    Args:
        train: The training samples; a validation split is taken from them if `val` is left out, and a test split if
            `val` and `test` are.
        val: The validation samples.
        test: The test samples.
        inputs: Name of the array of inputs, shape (N, ...). Images of uint8 are brought to (N, C, H, W).
        targets: Name of the array, or column, of targets, shape (N, ...). A list names several of shape (N,), such as a
            table's columns of labels, 0 or 1: the targets are then values of shape (N, K).
    """

    train: str
    val: str | None = None
    test: str | None = None
    inputs: str = "inputs"
    targets: list[str] | str = "targets"

    def load_splits(self) -> dict[str, ArrayDataset]:  # type: ignore[override]
        """Read the files."""
        paths = {"train": self.train, "val": self.val, "test": self.test}
        splits: dict[str, ArrayDataset] = {}
        for name, path in paths.items():
            if path is not None:
                splits[name] = self._read(path, self.class_names or (splits["train"].classes if splits else None))
        return {"all": splits["train"]} if len(splits) == 1 else splits

    def _kind(self, targets: Tensor) -> Tensor:
        """Make targets classes where classes are meant: pandas writes 1.0 for 1 in a column with gaps."""
        meant = CLASSES & self.wanted or any(getattr(self, name) is not None for name in CLASSES)
        whole = targets.ndim == 1 and targets.is_floating_point() and bool((targets == targets.round()).all())
        return targets.long() if meant and whole else targets

    @property
    def _target_names(self) -> list[str]:
        return [self.targets] if isinstance(self.targets, str) else self.targets

    def _join(self, arrays: list[Any]) -> Tensor:
        """Return the targets: the one array, or several of shape (N,) as columns of values."""
        tensors = [torch.as_tensor(array) for array in arrays]
        return tensors[0] if isinstance(self.targets, str) else torch.stack(tensors, dim=1).float()

    def _read(self, path: str, classes: list[str] | None) -> ArrayDataset:
        if not Path(path).exists():
            raise UsageError(f"{path}: {no_such_file(Path(path))}")
        if Path(path).suffix.lower() in (".csv", ".tsv"):
            return self._read_table(path, classes)
        found = _read_arrays(path)
        for name in (self.inputs, *self._target_names):
            if name not in found:
                how = f"write --data.{'inputs' if name == self.inputs else 'targets'} NAME"
                raise UsageError(
                    f"{path}: no array '{name}'{did_you_mean(name, found)}; it has {', '.join(found)}; {how}"
                )
        inputs, targets = torch.as_tensor(found[self.inputs]), self._join([found[name] for name in self._target_names])
        if inputs.dtype == torch.uint8:
            from trainworks.datamodules.vision import channels_first  # a table needs none of it

            inputs = channels_first(inputs)
        groups, weights = (None if name not in found else np.asarray(found[name]) for name in EXTRA)
        named = None if isinstance(self.targets, str) else self.targets
        return ArrayDataset(_usual(inputs), self._kind(_usual(targets)), groups, weights, classes=named)

    def _read_table(self, path: str, classes: list[str] | None) -> ArrayDataset:
        names = self._target_names
        chunks = list(read_csv(path, names, "; write --data.targets NAME"))
        cells = {name: [cell for chunk in chunks for cell in chunk[name]] for name in (chunks[0] if chunks else ())}
        self.columns = [name for name in cells if name and name not in (*names, *EXTRA)]  # others number the rows
        features = [to_numbers(path, name, cells[name]) for name in self.columns]
        if not features:
            raise UsageError(f"{path}: a table needs rows, and a column beside {', '.join(names)}")
        if isinstance(self.targets, str):
            classes, targets = _parse_targets(path, cells[self.targets], classes)
            targets = self._kind(targets)
        else:
            classes, targets = names, self._join([to_numbers(path, name, cells[name]) for name in names])
        groups = np.unique(cells["groups"], return_inverse=True)[1] if "groups" in cells else None
        weights = to_numbers(path, "weights", cells["weights"]) if "weights" in cells else None
        inputs = torch.from_numpy(np.stack(features, axis=1).astype(np.float32))
        return ArrayDataset(inputs, targets, groups, weights, classes=classes)


def _read_arrays(path: str) -> dict[str, Any]:
    """Return the arrays of a file by name."""
    try:
        if Path(path).is_dir():
            return {file.stem: np.load(file, mmap_mode="c") for file in sorted(Path(path).glob("*.npy"))}
        if Path(path).suffix == ".npz":
            with np.load(path) as file:
                return dict(file)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # whatever the readers raise for a file of another kind
        wanted = "an .npz, .pt or .csv file, or a folder of .npy files"
        raise UsageError(f"{path}: cannot be read; write {wanted} ({str(error).splitlines()[0][:200]})") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path}: expected a dictionary of tensors, got {type(content).__name__}")
    return content


def _usual(values: Tensor) -> Tensor:
    """Bring numbers to the types that networks and losses take: float32 and, but for uint8 inputs, int64."""
    if values.is_floating_point():
        return values.float()
    return values if values.dtype == torch.uint8 and values.ndim > 1 else values.long()


def _parse_targets(path: str, cells: list[str], classes: list[str] | None) -> tuple[list[str] | None, Tensor]:
    """Return class names, if the cells are texts, and targets: whole numbers, else numbers, else classes."""
    for convert, dtype in ((int, torch.int64), (float, torch.float32)):
        try:
            return classes, torch.tensor([convert(cell) for cell in cells], dtype=dtype)
        except ValueError:
            continue
    classes = classes or sorted(set(cells))
    places = {name: place for place, name in enumerate(classes)}
    if unknown := set(cells) - places.keys():
        raise UsageError(f"{path}: '{min(unknown)}' is none of the {len(classes)} classes: {', '.join(classes[:10])}")
    return classes, torch.tensor([places[cell] for cell in cells])
