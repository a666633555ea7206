from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch.utils.data import Dataset

from trainworks.datamodules.annotations import IGNORED_CLASS, class_names_of
from trainworks.datamodules.base import MAX_CLASSES_SHOWN
from trainworks.datamodules.datasets.array_dataset import ArrayDataset
from trainworks.datamodules.datasets.file_index import pack_names
from trainworks.datamodules.datasets.mask_files import (
    MaskFiles,
    Value,
    count_values,
    number_classes,
    number_of,
    read_names,
    shown,
)
from trainworks.datamodules.datasets.mask_pairs import find_pairs
from trainworks.datamodules.image_base import ImageDataModule
from trainworks.errors import UsageError, listed, no_such_file


@dataclass(kw_only=True, eq=False, repr=False)
class MaskFolderDataModule(ImageDataModule):
    """Images with a mask each, for segmentation: `root`/images/ and `root`/masks/.

    Folders train, val and test above or below these are the splits; those that are missing are made as for
    `ImageFolderDataModule`. A mask has the name of its image, or that with an ending such as _mask. Its values are
    numbers of classes, two such as 0 and 255 (background and object), indices of a palette, or colours.

    Args:
        root: The folder.
        image_pattern: Regular expression of the paths of images below `root`, where their folder has none of the usual
            names; its group is the name that image and mask share, such as "photos/(.+)[.]jpg".
        mask_pattern: The same of masks, such as "gtFine/(.+)_gtFine_labelTrainIds".
        values: The value of each class in the masks by its name, a number or a colour [R, G, B], in the order of the
            classes. If left out, CVAT's labelmap.txt or Roboflow's _classes.csv says it, or else the values of all
            training masks.
        ignored: The value of pixels that count for nothing; of the object's where all others are 0.
    """

    root: str
    image_pattern: str | None = None
    mask_pattern: str | None = None
    values: dict[str, Value] | None = None
    ignored: Value = 255
    image_size: int | None = 256
    fit: Literal["crop", "stretch", "pad"] = "pad"

    def load_splits(self) -> dict[str, Dataset[Any]]:
        """List the files, and find out which value is which class."""
        if self.form is None or not Path(self.root).is_dir():
            wrong = f"root {self.root}: {no_such_file(Path(self.root))}" if self.form else "image_size must be a number"
            raise UsageError(f"data.{wrong}")
        patterns = {"image": self.image_pattern, "mask": self.mask_pattern}
        pairs, remarks = find_pairs(self.root, patterns, self.skip_unreadable)
        train = [str(Path(self.root, mask)) for _, mask in pairs.get("train") or pairs.get("all") or ()]
        if not train:
            raise UsageError(f"data.root {self.root}: no images to train on, only {' and '.join(pairs)}")
        table = self.values or read_names(Path(self.root))
        in_colours = any(isinstance(value, tuple) for value in table.values())
        classes, names = self._classes(table, train, in_colours)
        self.left_out = "\n".join([self.left_out, *remarks])
        splits: dict[str, Dataset[Any]] = {}
        for split, files in pairs.items():
            images, masks = (pack_names(part) for part in zip(*files, strict=True))
            index = ArrayDataset(images, None, names=images, classes=names)
            splits[split] = MaskFiles(self.root, index, masks, self.form, classes, in_colours)
        return splits

    def facts_of(self, train: Dataset[Any]) -> dict[str, Any]:
        """Return the classes, with weights by their pixels in all training masks."""
        names, counts = class_names_of(train) or [], np.array(self._counts)
        weights = counts.sum() / (np.maximum(counts, 1) * len(counts))
        return {"num_classes": len(names), "class_names": names, "class_weights": weights.round(6).tolist()}

    def describe(self) -> str:
        """Say what the data is, what the masks' values are, and which files are left out."""
        return f"{super().describe()}\n{self.left_out}"

    def _classes(self, table: dict[str, Value], masks: list[str], in_colours: bool) -> tuple[dict[int, int], list[str]]:
        """Return the class of each value, and the classes' names."""
        number, ignored = len(self.class_names or ()) or self.num_classes, number_of(self.ignored)
        counted = "class_weights" in self.wanted or not (table or (number or 2) > 2)
        pixels = count_values(masks, in_colours, self.num_cores) if counted else Counter[float]()
        if table:
            names = self.class_names or list(table)
            classes = {number_of(table[name]): k for k, name in enumerate(names) if name in table}
            if not len(names) == len(classes) == len(table):
                raise UsageError(f"data.values must hold a value of its own for each of {listed(names)}, got {table}")
        else:
            classes = number_classes(pixels, number, ignored)
            two = ["background", "object"] if len(classes) == 2 and 0 in classes else None
            names = self.class_names or two or list(map(str, classes))
        self._counts = [pixels[value] for value in classes]
        said = [f"{value} is {name}" for value, name in zip(map(shown, classes), names, strict=True) if value != name]
        said = said or [f"the values {min(classes)} to {max(classes)} are the classes"]
        said += [] if ignored in classes else [f"{shown(ignored)} is left out"]
        self.left_out = f"masks: {listed(said, MAX_CLASSES_SHOWN)}"
        return {ignored: IGNORED_CLASS} | classes, names
