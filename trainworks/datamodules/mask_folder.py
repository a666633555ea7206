from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch.utils.data import Dataset

from trainworks.datamodules.annotations import IGNORED_CLASS, class_names_of
from trainworks.datamodules.datasets import mask_files
from trainworks.datamodules.datasets.array_dataset import ArrayDataset
from trainworks.datamodules.datasets.file_index import pack_names
from trainworks.datamodules.datasets.mask_files import Value
from trainworks.datamodules.datasets.mask_pairs import find_pairs
from trainworks.datamodules.image_base import ImageDataModule
from trainworks.errors import UsageError, listed, no_such_file


@dataclass(kw_only=True, eq=False, repr=False)
class MaskFolderDataModule(ImageDataModule):
    """Images with a mask each, for segmentation: `root`/images/ and `root`/masks/, a mask named as its image.

    Folders train, val and test above or below these are splits; missing ones are made as by `ImageFolderDataModule`.
    Masks hold numbers of classes, two values such as 0 and 255 (background and object), a palette, or colours.

    Args:
        root: The folder.
        image_pattern: Regular expression of the paths of images below `root`, where their folder is not named images;
            its group is the name that the image shares with its mask, such as "photos/(.+)[.]jpg".
        mask_pattern: The same of masks, such as "gtFine/(.+)_gtFine_labelTrainIds".
        values: The value of each class by its name, a number or a colour [R, G, B], in the order of the classes. If
            left out, CVAT's labelmap.txt or Roboflow's _classes.csv says it, or else the values of all training masks.
        ignored: The value of pixels that count for nothing; it is the object's where all others are 0.
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
        if not (train := pairs.get("train") or pairs.get("all")):
            raise UsageError(f"data.root {self.root}: no images to train on, only {' and '.join(pairs)}")
        table = self.values or mask_files.read_names(Path(self.root))
        in_colours = any(isinstance(value, tuple) for value in table.values())
        classes, names = self._classes(table, [str(Path(self.root, mask)) for _, mask in train])
        self.left_out = "\n".join([self.left_out, *remarks])
        splits: dict[str, Dataset[Any]] = {}
        for split, files in pairs.items():
            images, masks = (pack_names(part) for part in zip(*files, strict=True))
            index = ArrayDataset(images, None, names=images, classes=names)
            splits[split] = mask_files.MaskFiles(self.root, index, masks, self.form, classes, in_colours)
        return splits

    def facts_of(self, train: Dataset[Any]) -> dict[str, Any]:
        """Return the classes."""
        names = class_names_of(train) or []
        return {"num_classes": len(names), "class_names": names}

    def _classes(self, table: dict[str, Value], masks: list[str]) -> tuple[dict[int, int], list[str]]:
        """Return the class of each value, also of the ignored one, and the classes' names."""
        number, ignored = len(self.class_names or ()) or self.num_classes, mask_files.number_of(self.ignored)
        if table:
            names = self.class_names or list(table)
            classes = {mask_files.number_of(table[name]): k for k, name in enumerate(names) if name in table}
            if not len(names) == len(classes) == len(table):
                raise UsageError(f"data.values must hold a value of its own for each of {listed(names)}, got {table}")
        else:
            classes = mask_files.number_classes(masks, self.num_cores, number, ignored)
            two = ["background", "object"] if len(classes) == 2 and 0 in classes else None
            names = self.class_names or two or list(map(str, classes))
        shown = map(mask_files.shown, classes)
        said = [f"{value} is {name}" for value, name in zip(shown, names, strict=True) if value != name]
        said = said or [f"the values {min(classes)} to {max(classes)} are the classes"]
        said += [] if ignored in classes else [f"{mask_files.shown(ignored)} is left out"]
        self.left_out = f"masks: {listed(said)}"
        return {ignored: IGNORED_CLASS} | classes, names
