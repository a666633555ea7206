from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch.utils.data import Dataset

from trainworks.datamodules.datasets.box_formats import read_boxes
from trainworks.datamodules.datasets.image_cache import describe_unreadable
from trainworks.datamodules.datasets.image_dataset import ImageFiles
from trainworks.datamodules.image_base import ImageDataModule
from trainworks.errors import UsageError


@dataclass(kw_only=True, eq=False, repr=False)
class BoxFilesDataModule(ImageDataModule):
    """Images with boxes as other tools annotate them: COCO's JSON, YOLO's text files or Pascal VOC's XML.

    The format is found by looking. A batch is images (B, C, size, size) and, for each, a dictionary of boxes (corners
    x1, y1, x2, y2 in pixels, shape (M, 4)) and labels (shape (M,), from 1; 0 is the background). Boxes are cut to their
    image; crowds and difficult ones are left out, and with `skip_unreadable` also what is wrong in the annotations.

    Args:
        root: The folder of images and annotations.
        annotations: COCO's file of train, val and test, below `root` or absolute, where names do not tell.
    """

    root: str
    annotations: dict[str, str] | None = None
    image_size: int | None = 256
    fit: Literal["crop", "stretch", "pad"] = "pad"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sample_transform:
            raise UsageError("data.sample_transform moves images without their boxes; write it as data.train_transform")
        self.faults: list[str] = []  # in the annotations
        self.left_out = ""  # what else a training does without
        self.category_ids: dict[str, Any] = {}  # the annotations' own numbers, of classes by name
        self.image_ids: dict[str, Any] = {}  # and of images by path

    def load_splits(self) -> dict[str, Dataset[Any]]:
        """Read the annotations."""
        if self.form is None:
            raise UsageError("data.image_size must be a number of pixels, got null")
        if not Path(self.root).is_dir():
            raise UsageError(f"data.root {self.root}: no such folder")
        folder = read_boxes(self.root, self.annotations, self.form)
        self.faults, self.left_out = folder.faults, folder.left_out
        self.category_ids, self.image_ids = folder.category_ids, folder.image_ids
        indices = {split: folder.index(split) for split, images in folder.splits.items() if images}
        if not any(index.targets.counts.any() for split, index in indices.items() if split in ("train", "all")):
            reasons = [*self.faults[:10], *self.left_out.splitlines()]
            raise UsageError("; ".join([f"data.root {self.root}: no boxes to train on", *reasons]))
        return {split: ImageFiles(self.root, index, self.form) for split, index in indices.items()}

    def serve(self, datasets: dict[str, Dataset[Any]]) -> dict[str, Dataset[Any]]:
        """Refuse faulty annotations, then decode images beforehand where that is wanted."""
        if self.faults and not self.skip_unreadable:
            advice = "mend them, or write data.skip_unreadable true to leave them out"
            raise UsageError(f"{describe_unreadable(self.faults, 'fault')}\n{advice}")
        return super().serve(datasets)

    def facts_of(self, train: Any) -> dict[str, Any]:
        """Return the classes, with the background."""
        return {"num_classes": len(train.classes), "class_names": train.classes}

    @property
    def class_counts(self) -> dict[str, int]:
        """Number of training boxes of each class, by its name."""
        train: Any = self.splits.get("train")
        counts = train.targets.labels.bincount(minlength=len(train.classes)).tolist() if train else ()
        return dict(zip(train.classes[1:], counts[1:], strict=True)) if train else {}

    def describe(self) -> str:
        """Say what the data is, and what was left out."""
        faults = f"left out, {describe_unreadable(self.faults, 'fault')}" if self.faults else ""
        return "\n".join(filter(None, (super().describe(), self.left_out, faults)))

    def state_dict(self) -> dict[str, Any]:
        """Add the numbers of the classes, for results on other images."""
        return super().state_dict() | {"category_ids": self.category_ids}

    def load_input_state(self, states: Mapping[str, Any]) -> None:
        """Take over the numbers of the classes too."""
        super().load_input_state(states)
        self.category_ids = states.get(type(self).__qualname__, {}).get("category_ids", {})
