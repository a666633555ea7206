import contextlib
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainworks.datamodules.datasets.array_dataset import ArrayDataset, channels_first
from trainworks.datamodules.datasets.tables import class_numbers, read_csv, to_numbers
from trainworks.datamodules.tabular import TabularDataModule
from trainworks.errors import UsageError, did_you_mean, first_line, no_such_file

Targets = tuple[list[str] | None, Tensor]  # names of the classes, where there are any, and the targets
OPTIONAL_ARRAYS = ("groups", "weights")
CLASS_ARGUMENTS = {"num_classes", "class_names", "class_weights", "pos_weight"}  # which only a classification has
VALUE_ARGUMENTS = {"target_mean", "target_std"}  # which only a regression has


@dataclass(kw_only=True, eq=False, repr=False)
class ArrayDataModule(TabularDataModule):
    """Arrays from files: .npz, a folder of .npy files (which are memory-mapped), .pt, or a CSV table.

    An .npz or .pt file holds arrays by name, a folder one `<name>.npy` each: `inputs` and `targets` and, optionally,
    `groups` (no group is in two splits) and `weights` (for weighted sampling). In a table each other column is a
    feature. Integer or text targets are classes, others are values, and integers too where the configuration has the
    mean or the standard deviation of the targets. Whole floating-point numbers, such as 1.0 in a table, are classes
    where the configuration has an argument of classes. Classes may have any numbers, such as -1 and 1, or 1 to K: these
    become their names. Targets of shape (N, 1) are taken as (N,). The columns of `val` and `test` are taken by the
    names of those of `train`, and others are left out.

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
        if not self.targets:
            raise UsageError(f"data.targets must name an array or a column, got {self.targets!r}")
        splits: dict[str, ArrayDataset] = {}
        for name in ("train", "val", "test"):
            if (path := getattr(self, name)) is not None:
                splits[name] = self._read(path, splits.get("train"))
        return {"all": splits["train"]} if len(splits) == 1 else splits

    def _as_classes(self, path: str, targets: Tensor, classes: list[str] | None, train: ArrayDataset | None) -> Targets:
        """Return names and targets: where classes are meant, whole numbers become integers from 0.

        pandas writes 1.0 for 1 in a column with gaps. Labels in columns become floats, anything else stays as it is.
        Other samples than the training samples get no new numbers.
        """
        used = {name for name in CLASS_ARGUMENTS | VALUE_ARGUMENTS if getattr(self, name) is not None} | self.wanted
        if not used & CLASS_ARGUMENTS:
            return classes, targets.float() if used & VALUE_ARGUMENTS else targets
        if targets.ndim == 2:
            targets = targets[:, 0] if targets.shape[1] == 1 else targets.float()
        if targets.ndim != 1 or not torch.equal(targets, (whole := targets.long()).to(targets.dtype)):
            return classes, targets
        values, indices = torch.unique(whole, return_inverse=True)
        names = [str(value) for value in values.tolist()]
        number = self.num_classes or len(classes or names)
        if classes and set(names) <= set(classes):
            return classes, torch.tensor(class_numbers(path, names, classes))[indices]
        in_range = values[0] >= 0 and values[-1] < number
        if in_range or classes or train or len(values) != number:  # a number out of range is named later
            return classes, whole
        return names, indices

    def _read(self, path: str, train: ArrayDataset | None) -> ArrayDataset:
        """Read the samples of a file; those of validation and test get columns and classes of the training samples."""
        if not Path(path).exists():
            raise UsageError(f"{path}: {no_such_file(Path(path))}")
        names = [self.targets] if isinstance(self.targets, str) else self.targets
        classes = self.class_names or (train.classes if train else None)
        if Path(path).suffix.lower() in (".csv", ".tsv"):
            return self._read_table(path, names, classes, train)
        arrays = _read_arrays(path)
        for name in (self.inputs, *names):
            if name not in arrays:
                advice = f"write --data.{'inputs' if name == self.inputs else 'targets'} NAME"
                near, known = did_you_mean(name, arrays), ", ".join(arrays)
                raise UsageError(f"{path}: no array '{name}'{near}; it has {known}; {advice}")
        inputs = _to_tensor(path, self.inputs, arrays[self.inputs])
        if not inputs.ndim or not len(inputs):
            raise UsageError(f"{path}: the array '{self.inputs}' has no samples; its shape is {tuple(inputs.shape)}")
        if inputs.dtype == torch.uint8:
            inputs = channels_first(inputs)
        groups, weights = (np.asarray(arrays[name]) if name in arrays else None for name in OPTIONAL_ARRAYS)
        if not isinstance(self.targets, str):
            classes, targets = names, torch.stack([_to_tensor(path, name, arrays[name]) for name in names], 1).float()
        elif (texts := np.asarray(arrays[self.targets])).dtype.kind in "US":
            classes, targets = self._parse_targets(path, texts.astype(str).tolist(), classes, train)
        else:
            targets = _to_tensor(path, self.targets, arrays[self.targets])
            classes, targets = self._as_classes(path, targets, classes, train)
        return ArrayDataset(_standard_dtype(inputs), _standard_dtype(targets), groups, weights, classes=classes)

    def _read_table(
        self, path: str, names: list[str], classes: list[str] | None, train: ArrayDataset | None
    ) -> ArrayDataset:
        chunks = list(read_csv(path, names, "; write --data.targets NAME"))
        lines, header = [line for some, _ in chunks for line in some], chunks[0][1] if chunks else ()
        cells = {name: [cell for _, chunk in chunks for cell in chunk[name]] for name in header}
        if train is None:  # a column without a name holds the rows' numbers
            self.columns = [name for name in cells if name and name not in (*names, *OPTIONAL_ARRAYS)]
        if not (lines and self.columns):
            raise UsageError(f"{path}: a table needs rows, and a column beside {', '.join(names)}")
        if missing := [name for name in self.columns if name not in cells]:
            near = did_you_mean(missing[0], cells)
            raise UsageError(f"{path}: no column '{missing[0]}', which {self.train} has{near}")
        features = [to_numbers(path, name, cells[name], lines) for name in self.columns]
        if isinstance(self.targets, str):
            classes, targets = self._parse_targets(path, cells[self.targets], classes, train)
        else:
            labels = np.stack([to_numbers(path, name, cells[name], lines) for name in names], axis=1)
            classes, targets = names, torch.from_numpy(labels).float()
        groups = np.unique(cells["groups"], return_inverse=True)[1] if "groups" in cells else None
        weights = to_numbers(path, "weights", cells["weights"], lines) if "weights" in cells else None
        inputs = torch.from_numpy(np.stack(features, axis=1).astype(np.float32))
        return ArrayDataset(inputs, _standard_dtype(targets), groups, weights, classes=classes)

    def _parse_targets(
        self, path: str, cells: list[str], classes: list[str] | None, train: ArrayDataset | None
    ) -> Targets:
        """Return class names, where there are any, and targets: whole numbers, else numbers, else classes by name."""
        for convert, dtype in ((int, torch.int64), (float, torch.float64)):  # float32 would merge large classes
            with contextlib.suppress(ValueError):
                targets = torch.tensor([convert(cell) for cell in cells], dtype=dtype)
                return self._as_classes(path, targets, classes, train)
        cells = [cell.strip() for cell in cells]
        if train and not classes:
            raise UsageError(f"{path}: targets such as '{cells[0]}' are texts, but those of {self.train} are numbers")
        classes = classes or sorted(set(cells))
        return classes, torch.tensor(class_numbers(path, cells, classes))


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
        reason = f" ({first_line(error)})" if Path(path).suffix in (".npz", ".pt", ".pth", "") else ""
        reason = " (it holds more than tensors and numbers)" if isinstance(error, UnpicklingError) else reason
        raise UsageError(f"{path}: cannot be read; write {wanted}{reason}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path}: expected a dictionary of tensors, got {type(content).__name__}")
    return content


def _to_tensor(path: str, name: str, values: Any) -> Tensor:
    """Convert an array of a file; anything but real numbers is a UsageError."""
    with contextlib.suppress(TypeError, ValueError):  # texts, dates, lists of several lengths
        if not (tensor := torch.as_tensor(values)).is_complex():
            return tensor
    kind = getattr(values, "dtype", type(values).__name__)
    raise UsageError(f"{path}: the array '{name}' must hold real numbers, got {kind}")


def _standard_dtype(values: Tensor) -> Tensor:
    """Convert numbers to the types that networks and losses take: float32 and int64; uint8 inputs stay as they are."""
    if values.is_floating_point():
        return values.float()
    return values if values.dtype == torch.uint8 and values.ndim > 1 else values.long()
