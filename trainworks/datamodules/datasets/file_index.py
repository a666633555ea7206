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
from trainworks.datamodules.datasets.tables import class_indices, read_csv, to_numbers
from trainworks.errors import UsageError, did_you_mean, listed

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
SYSTEM_FILES = ("Thumbs.db", "desktop.ini")  # which Windows puts into folders
TABLE_COLUMNS = ("path", "label", "split", "group", "weight")
NAMES_AT_ONCE = 100_000  # names that are Python objects at one time while they are packed


def find_images(
    root: str, folder: str = "", others: Counter[str] | None = None, suffixes: tuple[str, ...] = EXTENSIONS
) -> Iterator[str]:
    """Yield the path of every image, or file of other `suffixes`, below a folder of `root`, relative to `root`, sorted.

    Hidden files and folders are skipped. Files of other kinds are counted in `others` by their extension.
    """
    for parent, folders, files in os.walk(os.path.join(root, folder), followlinks=True):
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
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    return [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]


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


def read_table(path: str, classes: list[str] | None) -> dict[str, ArrayDataset]:
    """Read a CSV table with the columns path and label and, optionally, split, group and weight.

    If `classes` is None, they are the labels of the table, sorted, numbers in numerical order. Returns an index for
    each split of the table ("train", "val", "test"), or one called "all" if it has no such column.
    """
    codes: dict[str, dict[str, int]] = {name: {} for name in ("label", "split", "group")}
    parts: dict[str, list[np.ndarray]] = {name: [] for name in TABLE_COLUMNS}
    for lines, chunk in read_csv(path, required=TABLE_COLUMNS[:2]):
        parts["path"].append(np.array([os.fsencode(value) for value in chunk["path"]]))
        if "weight" in chunk:
            parts["weight"].append(to_numbers(path, "weight", chunk["weight"], lines))
        for name in codes.keys() & chunk.keys():
            known = codes[name]
            parts[name].append(np.array([known.setdefault(value, len(known)) for value in chunk[name]]))
    if not parts["path"]:
        raise UsageError(f"{path}: the table has no rows")
    names = join_names(parts.pop("path"))
    columns = {name: np.concatenate(values) for name, values in parts.items() if values}
    if "weight" in columns and (smallest := columns["weight"].min()) < 0:
        raise UsageError(f"{path}: column 'weight' must be at least 0, got {smallest:g}")
    order = classes or sorted(codes["label"], key=lambda label: (not label.isdigit(), label.zfill(20)))
    if len(order) < 2:
        raise UsageError(f"{path}: at least two classes are needed, column 'label' has only '{order[0]}'")
    index = class_indices(path, codes["label"], order)
    targets = torch.from_numpy(np.array([index[label] for label in codes["label"]])[columns["label"]])
    whole = ArrayDataset(names, targets, columns.get("group"), columns.get("weight"), names, order)
    if "split" not in columns:
        return {"all": whole}
    if wrong := codes["split"].keys() - {"train", "val", "test"}:
        raise UsageError(f"{path}: split '{min(wrong)}' is none of train, val and test")
    return {name: whole.subset(np.flatnonzero(columns["split"] == code)) for name, code in codes["split"].items()}
