import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch.utils.data import Dataset

from trainworks.datamodules.datasets import mask_files
from trainworks.datamodules.datasets.array_dataset import ArrayDataset
from trainworks.datamodules.datasets.file_index import pack_names
from trainworks.datamodules.image_base import ImageDataModule
from trainworks.errors import UsageError


@dataclass(kw_only=True, eq=False, repr=False)
class MaskFolderDataModule(ImageDataModule):
    """Images with a mask each, for segmentation: `root`/images/ and `root`/masks/, with the same names.

    Folders train, val and test above or below these are splits; missing ones are made as by `ImageFolderDataModule`.

    Args:
        root: The folder.
        values: The value of each class by its name, a number or a colour [R, G, B]. If left out, CVAT's labelmap.txt
            states it, or all training masks do: numbers of classes, or two such as 0 and 255, background and object.
        ignored: The value of pixels that count for nothing; where all others are 0, it is the object's.
    """

    root: str
    values: dict[str, int | tuple[int, int, int]] | None = None
    ignored: int | tuple[int, int, int] = 255
    image_size: int | None = 256
    fit: Literal["crop", "stretch", "pad"] = "pad"

    def load_splits(self) -> dict[str, Dataset[Any]]:
        """List the files, and find out which value is which class."""
        form = self.form_for("root")
        pairs, remarks = mask_files.find_pairs(self.root, self.skip_unreadable)
        looked_at = pairs.get("train", next(iter(pairs.values())))  # else all, or those of the first split
        values = self._values([str(Path(self.root, mask)) for _, mask in looked_at])
        if len(values) > mask_files.UNKNOWN:
            raise UsageError(f"masks may have {mask_files.UNKNOWN} classes, got {len(values)}")
        shown = {name: str(value if isinstance(value, int) else [*value]) for name, value in values.items()}
        said = ", ".join(f"{value} is {name}" for name, value in shown.items() if value != name) or "numbers of classes"
        self.left_out = "\n".join([f"mask values: {said}", *remarks])
        splits: dict[str, Dataset[Any]] = {}
        for split, files in pairs.items():
            images, masks = (pack_names(part) for part in zip(*files, strict=True))
            index = ArrayDataset(images, None, names=images, classes=[*values])
            splits[split] = mask_files.MaskFiles(self.root, index, form, masks, [self.ignored, *values.values()])
        return splits

    def _values(self, masks: list[str]) -> dict[str, Any]:
        """Return the value of each class by its name, in the order of the classes."""
        names, colours = self.class_names, Path(self.root, "labelmap.txt")
        lines = re.findall(r"^([^#\n].*?):(\d+),(\d+),(\d+):", colours.read_text(), re.M) if colours.is_file() else []
        stated: dict[str, Any] = self.values or {name: tuple(map(int, colour)) for name, *colour in lines}
        if not stated:
            found = mask_files.find_values(masks, self.num_cores, len(names or ()) or self.num_classes, self.ignored)
            names = names or (["background", "object"] if len(found) == 2 and 0 in found else [*map(str, found)])
            return dict(zip(names, found, strict=True))
        if {*(names or stated)} != {*stated} or len({*stated.values()}) < len(stated):
            raise UsageError(f"data.values must hold a value of its own for each of {names or [*stated]}, got {stated}")
        return {name: stated[name] for name in names or stated}
