import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainworks.datamodules.datasets.array_dataset import ArrayDataset
from trainworks.datamodules.datasets.tables import class_indices, read_csv, to_numbers
from trainworks.datamodules.tabular import TabularDataModule
from trainworks.errors import UsageError, did_you_mean, no_such_file

OPTIONAL_ARRAYS = ("groups", "weights")
CLASS_ARGUMENTS = {"num_classes", "class_names", "class_weights"}  # which only a classification has


@dataclass(kw_only=True, eq=False, repr=False)
class ArrayDataModule(TabularDataModule):
    """Arrays from files: .npz, a folder of .npy files (which are memory-mapped), .pt, or a CSV table.

    An .npz or .pt file holds arrays by name, a folder one `<name>.npy` each: `inputs` and `targets` and, optionally,
    `groups` (no group is in two splits) and `weights` (for weighted sampling). In a table each other column is a
    feature. Integer or text targets are classes, others are values. Whole floating-point numbers, such as 1.0 in a
    table, are classes where the configuration has an argument of classes. Classes may have any numbers, such as -1 and
    1, or 1 to K: these become their names. Targets of shape (N, 1) are taken as (N,).

    Args:
        train: The training samples. If `val` is left out, a validation split is taken from them; if `val` and `test`
            are, a test split too.
        val: The validation samples.
        test: The test samples.
        inputs: Name of the array of inputs, shape (N, ...). Images of uint8 are brought to (N, C, H, W).
        targets: Name of the array, or column, of targets, shape (N, ...). A list names several of shape (N,), such as a
            table's columns of labels, 0 or 1; the targets are then values of shape (N, K).
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

    def _as_classes(self, path: str, targets: Tensor, classes: list[str] | None) -> tuple[list[str] | None, Tensor]:
        """Return names and targets: where classes are meant, whole numbers become integers from 0.

        pandas writes 1.0 for 1 in a column with gaps. Labels in columns become floats, anything else stays as it is.
        """
        meant = CLASS_ARGUMENTS & self.wanted or any(getattr(self, name) is not None for name in CLASS_ARGUMENTS)
        if meant and targets.ndim == 2:
            targets = targets[:, 0] if targets.shape[1] == 1 else targets.float()
        if not meant or targets.ndim != 1:
            return classes, targets
        if targets.is_floating_point() and not bool((targets == targets.round()).all()):
            return classes, targets
        values, indices = torch.unique(targets.long(), return_inverse=True)
        names = [str(value) for value in values.tolist()]
        number = self.num_classes or len(classes or names)
        if classes and set(names) <= set(classes):
            index = class_indices(path, names, classes)
            return classes, torch.tensor([index[name] for name in names])[indices]
        in_range = bool(values[0] >= 0 and values[-1] < number)
        if in_range or classes or len(values) != number:  # a number out of range is named later
            return classes, targets.long()
        return names, indices

    def _join(self, arrays: list[Any]) -> Tensor:
        """Return the targets: the one array, or several of shape (N,) as columns."""
        tensors = [torch.as_tensor(array) for array in arrays]
        return tensors[0] if isinstance(self.targets, str) else torch.stack(tensors, dim=1).float()

    def _read(self, path: str, classes: list[str] | None) -> ArrayDataset:
        if not Path(path).exists():
            raise UsageError(f"{path}: {no_such_file(Path(path))}")
        names = [self.targets] if isinstance(self.targets, str) else self.targets
        if Path(path).suffix.lower() in (".csv", ".tsv"):
            return self._read_table(path, names, classes)
        arrays = _read_arrays(path)
        for name in (self.inputs, *names):
            if name not in arrays:
                advice = f"write --data.{'inputs' if name == self.inputs else 'targets'} NAME"
                near, known = did_you_mean(name, arrays), ", ".join(arrays)
                raise UsageError(f"{path}: no array '{name}'{near}; it has {known}; {advice}")
        inputs = torch.as_tensor(arrays[self.inputs])
        targets = self._join([arrays[name] for name in names])
        if inputs.dtype == torch.uint8:
            from trainworks.datamodules.vision import channels_first  # a table needs none of it

            inputs = channels_first(inputs)
        groups, weights = (np.asarray(arrays[name]) if name in arrays else None for name in OPTIONAL_ARRAYS)
        label_names = None if isinstance(self.targets, str) else self.targets
        classes, targets = self._as_classes(path, _standard_dtype(targets), label_names or classes)
        return ArrayDataset(_standard_dtype(inputs), targets, groups, weights, classes=classes)

    def _read_table(self, path: str, names: list[str], classes: list[str] | None) -> ArrayDataset:
        chunks = [chunk for _, chunk in read_csv(path, names, "; write --data.targets NAME")]
        cells = {name: [cell for chunk in chunks for cell in chunk[name]] for name in (chunks[0] if chunks else ())}
        # a column without a name holds the rows' numbers
        self.columns = [name for name in cells if name and name not in (*names, *OPTIONAL_ARRAYS)]
        features = [to_numbers(path, name, cells[name]) for name in self.columns]
        if not features:
            raise UsageError(f"{path}: a table needs rows, and a column beside {', '.join(names)}")
        if isinstance(self.targets, str):
            classes, targets = self._parse_targets(path, cells[self.targets], classes)
        else:
            classes, targets = names, self._join([to_numbers(path, name, cells[name]) for name in names])
        groups = np.unique(cells["groups"], return_inverse=True)[1] if "groups" in cells else None
        weights = to_numbers(path, "weights", cells["weights"]) if "weights" in cells else None
        inputs = torch.from_numpy(np.stack(features, axis=1).astype(np.float32))
        return ArrayDataset(inputs, targets, groups, weights, classes=classes)

    def _parse_targets(self, path: str, cells: list[str], classes: list[str] | None) -> tuple[list[str] | None, Tensor]:
        """Return class names, where there are any, and targets: whole numbers, else numbers, else classes by name."""
        for convert, dtype in ((int, torch.int64), (float, torch.float32)):
            with contextlib.suppress(ValueError):
                return self._as_classes(path, torch.tensor([convert(cell) for cell in cells], dtype=dtype), classes)
        classes = classes or sorted(set(cells))
        index = class_indices(path, cells, classes)
        return classes, torch.tensor([index[cell] for cell in cells])


def _read_arrays(path: str) -> dict[str, Any]:
    """Return the arrays of a file by name."""
    try:
        if Path(path).is_dir():
            return {file.stem: np.load(file, mmap_mode="c") for file in sorted(Path(path).glob("*.npy"))}
        if Path(path).suffix == ".npz":
            with np.load(path) as file:
                return dict(file)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # the readers raise errors of many kinds
        wanted = "an .npz, .pt or .csv file, or a folder of .npy files"
        raise UsageError(f"{path}: cannot be read; write {wanted} ({str(error).splitlines()[0][:200]})") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path}: expected a dictionary of tensors, got {type(content).__name__}")
    return content


def _standard_dtype(values: Tensor) -> Tensor:
    """Convert numbers to the types that networks and losses take: float32 and int64; uint8 inputs stay as they are."""
    if values.is_floating_point():
        return values.float()
    return values if values.dtype == torch.uint8 and values.ndim > 1 else values.long()
