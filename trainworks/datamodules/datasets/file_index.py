"""Indices of image files and their classes: ArrayDatasets whose inputs are packed names."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainworks.datamodules.datasets.array_dataset import ArrayDataset, unpack_name
from trainworks.datamodules.datasets.tables import class_numbers, number, read_csv, to_numbers
from trainworks.errors import UsageError, did_you_mean, listed

EXTENSIONS: tuple[str, ...] = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".ppm", ".pgm", ".tif", ".tiff")
EXTENSIONS += (".avif", ".heic", ".heif", ".npy")
SYSTEM_FILES = ("Thumbs.db", "desktop.ini")  # which Windows puts into folders
SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}  # and their split
OPTIONAL_COLUMNS = ("split", "group", "weight")
ADVICE = "; files are in a column path, classes in --data.targets NAME, labels, 0 or 1, in [NAME, NAME]"
NAMES_AT_ONCE = 100_000  # names that are Python objects at one time while they are packed


def find_images(
    root: str, folder: str = "", others: Counter[str] | None = None, suffixes: tuple[str, ...] = EXTENSIONS
) -> Iterator[str]:
    """Yield the path of every image, or file of other `suffixes`, below a folder of `root`, relative to `root`, sorted.

    Hidden files and folders are skipped, and so are directories of runs. Files of other kinds are counted in `others`
    by their extension.
    """
    for parent, folders, files in os.walk(os.path.join(root, folder), followlinks=True):
        if "run.json" in files:  # the pictures of a run
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        prefix = os.path.relpath(parent, root)
        for name in sorted(files):
            if name.startswith(".") or name in SYSTEM_FILES:
                continue
            if name.lower().endswith(suffixes):
                yield name if prefix == "." else f"{prefix}/{name}"
            elif others is not None:
                others[os.path.splitext(name)[1].lower() or "without an ending"] += 1


def pack_names(names: Iterable[str]) -> Tensor:
    """Return names in one array, so that ten million of them need no Python objects, neither here nor in the workers.

    They are in the file system's encoding, one a row, padded with zeros: uint8 of shape (N, longest).
    """
    names, parts = iter(names), [np.empty(0, "S1")]
    while chunk := [os.fsencode(name) for name in islice(names, NAMES_AT_ONCE)]:
        parts.append(np.array(chunk))
    return join_names(parts)


class PackedNames(Sequence[str]):
    """Names as `pack_names` returns them: a million of them are no Python objects."""

    def __init__(self, packed: Tensor) -> None:
        self.packed = packed

    def __len__(self) -> int:
        return len(self.packed)

    def __getitem__(self, index: Any) -> Any:
        return PackedNames(self.packed[index]) if isinstance(index, slice) else unpack_name(self.packed[index])


def join_names(parts: list[np.ndarray]) -> Tensor:
    """Join arrays of byte strings to one array, as `pack_names` does."""
    table = np.concatenate(parts)
    return torch.from_numpy(table.view(np.uint8).reshape(len(table), table.itemsize))


def class_folders(folder: Path) -> list[str]:
    """Return the sorted names of the visible folders in `folder`; none if it does not exist."""
    return sorted(entry.name for entry in folder.glob("[!.]*/"))


def index_folders(root: str, folder: str, classes: list[str], others: Counter[str] | None = None) -> ArrayDataset:
    """List the images of `root`/`folder`/<class>/ by their path below `root`; `others` as for `find_images`."""
    for name in class_folders(Path(root, folder)):
        if name not in classes:
            near = did_you_mean(name, classes)
            known = f"{len(classes)} classes: {listed(classes)}"
            raise UsageError(f"{Path(root, folder, name)}: no class of that name{near}; there are {known}")
    parts = [pack_names(find_images(root, os.path.join(folder, name), others)) for name in classes]
    width = max(part.shape[1] for part in parts)
    names = torch.cat([torch.nn.functional.pad(part, (0, width - part.shape[1])) for part in parts])
    targets = torch.repeat_interleave(torch.tensor([len(part) for part in parts]))
    return ArrayDataset(names, targets, names=names, classes=classes)


def read_table(path: str, classes: list[str] | None, targets: list[str] | str = "label") -> dict[str, ArrayDataset]:
    """Read a CSV table with the columns path and `targets` and, optionally, split, group and weight.

    Several columns of `targets` are labels in [0, 1]. If `classes` is None, they are these columns, or the labels of
    the one, sorted, numbers in numerical order. Returns an index for each split of the table ("train", "val", "test"),
    or one called "all" if it has no such column.
    """
    columns = [targets] if isinstance(targets, str) else targets
    if not columns or len({*columns, "path", *OPTIONAL_COLUMNS}) < len(columns) + 4:
        raise UsageError(f"{path}: data.targets must name a column of classes, or each of labels once, got {targets}")
    numbers = {"weight": np.inf} | ({} if isinstance(targets, str) else dict.fromkeys(targets, 1.0))  # the greatest
    codes: dict[str, dict[str, int]] = {name: {} for name in ("split", "group", *columns) if name not in numbers}
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("path", *codes, *numbers)}
    rows: list[np.ndarray] = []  # the line of each row, and the hash of its path
    for lines, chunk in read_csv(path, ["path", *columns], ADVICE, OPTIONAL_COLUMNS):
        parts["path"].append(np.array([os.fsencode(value) for value in chunk["path"]]))
        rows.append(np.array([lines, [hash(value) for value in chunk["path"]]]))
        for name in numbers.keys() & chunk.keys():
            parts[name].append(to_numbers(path, name, chunk[name], lines, numbers[name]))
        for name in codes.keys() & chunk.keys():
            known, same = codes[name], SPLIT_FOLDERS if name == "split" else {}
            cells = map(str.strip, chunk[name])
            parts[name].append(np.array([known.setdefault(same.get(cell, cell), len(known)) for cell in cells]))
    if not parts["path"]:
        raise UsageError(f"{path}: the table has no rows")
    names = join_names(parts.pop("path"))
    _check_unique(path, names, *np.concatenate(rows, axis=1))
    found = {name: np.concatenate(values) for name, values in parts.items() if values}
    if isinstance(targets, str):
        classes = classes or sorted(codes[targets], key=lambda label: (np.nan_to_num(number(label), nan=np.inf), label))
        if len(classes) < 2:
            raise UsageError(f"{path}: at least two classes are needed, column '{targets}' has only '{classes[0]}'")
        values = torch.tensor(class_numbers(path, codes[targets], classes))[found[targets]]
    else:
        classes = classes if classes and set(classes) == set(targets) else targets  # the network's order
        values = torch.from_numpy(np.stack([found[name] for name in classes], axis=1)).float()
    whole = ArrayDataset(names, values, found.get("group"), found.get("weight"), names, classes)
    if "split" not in found:
        return {"all": whole}
    if wrong := codes["split"].keys() - {"train", "val", "test"}:
        raise UsageError(f"{path}: split '{min(wrong)}' is none of train, val and test")
    return {name: whole.subset(np.flatnonzero(found["split"] == code)) for name, code in codes["split"].items()}


def _check_unique(path: str, names: Tensor, lines: np.ndarray, hashes: np.ndarray) -> None:
    """Refuse a table with two rows of one image, which might be in two splits; of ten million rows it takes 2 s."""
    order = np.argsort(hashes, kind="stable")
    for first, second in order[np.flatnonzero(np.diff(hashes[order]) == 0)[:, None] + [0, 1]].tolist():
        if torch.equal(names[first], names[second]):
            where = f"{path}, line {lines[second]}: {unpack_name(names[first])} stands in line {lines[first]} already"
            raise UsageError(f"{where}; write one row for each image, with a column for each label if it has several")
