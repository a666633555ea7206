import re
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from trainworks.datamodules.annotations import class_names_of, classes_of
from trainworks.datamodules.datasets.array_dataset import ArrayDataset
from trainworks.datamodules.datasets.file_index import (
    EXTENSIONS,
    SPLIT_FOLDERS,
    class_folders,
    find_images,
    index_folders,
    pack_names,
    read_table,
)
from trainworks.datamodules.datasets.image_dataset import ImageFiles
from trainworks.datamodules.image_base import ImageDataModule
from trainworks.datamodules.labels import labels_of
from trainworks.errors import UsageError, listed

NO_CLASSES = {*SPLIT_FOLDERS, "training", "testing", "dev", "eval"}  # in small letters: folders of splits


@dataclass(kw_only=True, eq=False, repr=False)
class ImageFolderDataModule(ImageDataModule):
    """A folder of images: `root`/train/<class>/, optionally with val/ and test/, or simply `root`/<class>/.

    Without val/, the validation split is taken from train, the same share of each class. Without test/ there is no
    test, unless `root` holds the class folders themselves: then `test_fraction` of the images are the test split.

    Args:
        root: The folder.
        csv_file: A table of the images in place of class folders: a header, then a row for each image, with the columns
            path (relative to `root`) and label and, optionally, split (train, val or test), group and weight.
        targets: Name of the table's column of classes. A list names columns of labels, 1 where the label is there and 0
            where it is not, or a share in between; the targets are then floats of shape (N, K).
        group_pattern: Regular expression that finds an image's group in its path below `root`, such as
            "(patient[0-9]+)"; no group is in two splits. An image without a match is a group of its own.
        predict_root: Folder of images without classes for the command predict, which then ignores `root`; if left out,
            the command takes the test split.
    """

    root: str
    csv_file: str | None = None
    targets: list[str] | str = "label"
    group_pattern: str | None = None
    predict_root: str | None = None
    image_size: int | None = 64

    def load_splits(self) -> dict[str, Dataset[Any]]:
        """List the files."""
        self._other_files: Counter[str] = Counter()  # numbers of files that are no images, by extension
        self._remarks: list[str] = []  # on folders
        form = self.form_for("root" if self.predict_root is None else "predict_root")
        if self.predict_root is not None:
            names = pack_names(find_images(self.predict_root, others=self._other_files))
            if not len(names):
                raise UsageError(f"data.predict_root {self.predict_root}: no images there")
            return {"predict": ImageFiles(self.predict_root, ArrayDataset(names, None, names=names), form)}
        root = Path(self.root)
        if self.csv_file:
            indices, beside = read_table(self.csv_file, self.class_names, self.targets), Path(self.csv_file).parent
            first = str(next(iter(indices.values())).name(0))
            if not (root / first).exists() and (beside / first).exists():
                raise UsageError(f"{self.csv_file}: {first} is not in data.root {root}; write --data.root {beside}")
        elif self.targets != "label":
            raise UsageError(f"data.targets {self.targets} names columns of a table; write data.csv_file FILE too")
        else:
            indices = self._index_folders(root)
        splits: dict[str, Dataset[Any]] = {}
        for name, index in indices.items():
            if len(index):
                splits[name] = ImageFiles(self.root, self._grouped(index), form)
        if not splits.keys() & {"train", "all"}:
            reason = f"{self.csv_file or self.root}: no images to train on"
            raise UsageError("; ".join([reason, *self.left_out.splitlines()]))
        return splits

    def serve(self, datasets: dict[str, Dataset[Any]]) -> dict[str, Dataset[Any]]:
        """Refuse a class without images, then decode images beforehand where that is wanted."""
        for name in datasets.keys() & {"train", "all"}:
            labels, names = labels_of(datasets[name]), class_names_of(datasets[name]) or []
            found = classes_of(datasets[name]) if labels is None else np.flatnonzero(labels.any(axis=0))
            if found is not None and len(empty := np.setdiff1d(np.arange(len(names)), found)):
                kind = f"images ({', '.join(EXTENSIONS)}) of class {listed([names[k] for k in empty])}"
                kind += " in train" if name == "train" else ""
                raise UsageError(f"{self.csv_file or self.root}: no {kind}")
        return super().serve(datasets)

    @property
    def left_out(self) -> str:  # type: ignore[override]
        """Say how many files of which extension are no images, and which folders are not read or may be misplaced."""
        counts = ", ".join(f"{count:,} {ending}" for ending, count in self._other_files.most_common(10))
        files = [f"left out, since they are none of {', '.join(EXTENSIONS)}: {counts}"] if counts else []
        return "\n".join(files + self._remarks)

    def _index_folders(self, root: Path) -> dict[str, ArrayDataset]:
        found = class_folders(root)
        if "train" not in found:
            if {name.lower() for name in found} <= NO_CLASSES:
                inside = "it has " + (", ".join(found) or f"{sum(1 for _ in root.iterdir()):,} files but no folder")
                inside += " (folders of splits are called train, val and test)" if found else ""
                raise UsageError(f"data.root {root}: neither a folder train nor a folder for each class; {inside}")
            splits = {"all": index_folders(self.root, "", self._classes(root), self._other_files)}
            if odd := [name for name in found if name.lower() in NO_CLASSES]:
                self._remarks.append(f"taken for classes, since there is no folder train: {listed(odd)}")
            self._look_below(splits["all"])
            return splits
        classes = self._classes(root / "train")
        splits = {}
        for folder, split in SPLIT_FOLDERS.items():
            if folder in found and class_folders(root / folder):
                if split in splits:
                    raise UsageError(f"{root / folder}: the {split} split is in another folder too; keep one of them")
                splits[split] = index_folders(self.root, folder, classes, self._other_files)
                found.remove(folder)
        if found:
            self._remarks.append(f"folders beside {', '.join(splits)} that are not read: {listed(found)}")
        self._look_below(splits["train"])
        return splits

    def _look_below(self, index: ArrayDataset) -> None:
        """Remark on it if no class has images of its own, but all have folders of the same names."""
        ends = np.flatnonzero(np.diff(index.targets, prepend=-1, append=-1))  # where classes begin, and the end
        outer = [(str(index.name(int(k))), str(index.name(int(end) - 1))) for k, end in pairwise(ends)]
        folders = {tuple(Path(name).parent.name for name in pair) for pair in outer}  # a class's own images come first
        if len(ends) > 2 and len(folders) == 1 and len(names := set(folders.pop())) == 2:
            below = f"all class folders hold only folders, of the same names ({', '.join(sorted(names))})"
            self._remarks.append(f"{below}: are these the classes, or splits?")

    def _classes(self, folder: Path) -> list[str]:
        classes = self.class_names or class_folders(folder)
        if len(classes) < 2:
            there = f"only '{classes[0]}'" if classes else "none"
            if classes and (below := class_folders(folder / classes[0])):
                advice = f"; write --data.root {folder / classes[0]}" if folder == Path(self.root) else ""
                there += f", which holds {listed(below)}{advice}"
            raise UsageError(f"{folder}: at least two class folders are needed, there is {there}")
        return classes

    def _grouped(self, index: ArrayDataset) -> ArrayDataset:
        """Add the groups that `group_pattern` finds."""
        if self.group_pattern is None:
            return index
        try:
            pattern = re.compile(self.group_pattern)
        except re.error as error:
            raise UsageError(f"data.group_pattern {self.group_pattern!r} is no regular expression: {error}") from None
        codes: dict[str, int] = {}
        groups = np.empty(len(index), dtype=np.int64)
        for item in range(len(index)):
            name = str(index.name(item))
            match = pattern.search(name)
            found = match[min(pattern.groups, 1)] if match else None  # a part of a pattern may match nothing
            groups[item] = codes.setdefault(found or name, len(codes))
        return ArrayDataset(index.inputs, index.targets, groups, index.weights, index.inputs, index.classes)
