from dataclasses import dataclass
from typing import Any, Literal

from torch.utils.data import Dataset

from trainworks.datamodules.datasets.box_folder import BoxFolder
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

    def load_splits(self) -> dict[str, Dataset[Any]]:
        """Read the annotations."""
        if self.sample_transform:
            raise UsageError("data.sample_transform moves images without their boxes; write it as data.train_transform")
        form = self.form_for("root")
        folder = BoxFolder(self.root, form, self.class_names)
        read_boxes(folder, self.annotations)
        self.category_ids, self.image_ids = folder.category_ids, folder.image_ids
        self.faults, self.left_out = folder.faults, folder.left_out
        indices = {split: folder.index(split) for split, images in folder.splits.items() if images}
        if not any(index.targets.counts.any() for split, index in indices.items() if split in ("train", "all")):
            reasons = [*self.faults[:10], *self.left_out.splitlines()]
            advice = "export polygons, or set iscrowd to 0: CVAT sets it to 1 for every brush mask"
            reasons += [advice] if folder.num_ignored else []
            raise UsageError("; ".join([f"data.root {self.root}: no boxes to train on", *reasons]))
        return {split: ImageFiles(self.root, index, form) for split, index in indices.items()}

    def serve(self, datasets: dict[str, Dataset[Any]]) -> dict[str, Dataset[Any]]:
        """Refuse faulty annotations, then decode images beforehand where that is wanted."""
        if self.faults and not self.skip_unreadable:
            advice = "mend them, or write data.skip_unreadable true to leave them out"
            raise UsageError(f"{describe_unreadable(self.faults, 'fault')}\n{advice}")
        self.left_out += f"\nleft out, {describe_unreadable(self.faults, 'fault')}" if self.faults else ""
        return super().serve(datasets)

    @property
    def class_counts(self) -> dict[str, int]:
        """Number of training boxes of each class, by its name."""
        if (train := self.splits.get("train")) is None:
            return {}
        counts = train.targets.labels.bincount(minlength=len(train.classes))  # type: ignore[attr-defined]
        return dict(zip(train.classes[1:], counts[1:].tolist(), strict=True))  # type: ignore[attr-defined]
