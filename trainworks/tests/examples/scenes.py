from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from trainworks.datamodules.base import BaseDataModule
from trainworks.datamodules.datasets.array_dataset import ArrayDataset

CLASSES = ["background", *map(str, range(10))]


def draw(count: int, size: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return images with two bright rectangles on noise, the class of each pixel, and the boxes and their classes."""
    random = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 64, (count, 3, size, size), generator=random, dtype=torch.uint8)
    masks = torch.zeros(count, size, size, dtype=torch.uint8)
    labels = torch.randint(1, len(CLASSES), (count, 2), generator=random)
    corners = torch.randint(0, size // 4, (count, 2, 2), generator=random)
    corners[:, 1] += size // 2  # so they do not overlap
    boxes = torch.cat([corners, corners + torch.randint(8, size // 4, (count, 2, 2), generator=random)], dim=2)
    for image, mask, places, classes in zip(images, masks, boxes.tolist(), labels.tolist(), strict=True):
        for (left, top, right, bottom), label in zip(places, classes, strict=True):
            image[label % 3, top:bottom, left:right] = 100 + 15 * label
            mask[top:bottom, left:right] = label
    return images, masks, boxes.float(), labels


class Boxes(Dataset[Any]):
    """Images of one size in memory, each with two boxes."""

    serves_batches = True

    def __init__(self, images: Tensor, boxes: Tensor, labels: Tensor) -> None:
        self.images, self.boxes, self.labels, self.classes = images, boxes, labels, CLASSES

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        return self.images[index], {"boxes": self.boxes[index], "labels": self.labels[index]}

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, list[dict[str, Tensor]]]:
        return self.images[indices], [self[index][1] for index in indices]


@dataclass(kw_only=True, eq=False, repr=False)
class ScenesDataModule(BaseDataModule):
    """Rectangles of ten classes, each with a colour, and where they are."""

    targets: Literal["masks", "boxes"]
    image_size: int = 64
    num_train: int = 40
    num_val: int = 20
    num_test: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        self.any_size = self.targets == "boxes"

    def load_splits(self) -> dict[str, Dataset[Any]]:
        splits: dict[str, Dataset[Any]] = {}
        for seed, name in enumerate(("train", "val", "test")):
            images, masks, boxes, labels = draw(getattr(self, f"num_{name}"), self.image_size, seed)
            if name == "train":
                self._counts = [len(images), *(int((labels == k).any(dim=1).sum()) for k in range(1, len(CLASSES)))]
            if self.targets == "masks":
                splits[name] = ArrayDataset(images, masks, classes=CLASSES)
            else:
                splits[name] = Boxes(images, boxes, labels)
        return splits

    def facts(self) -> dict[str, Any]:
        return {"num_classes": len(CLASSES), "class_names": CLASSES}

    @property
    def class_counts(self) -> dict[str, int]:
        return dict(zip(CLASSES, self._counts, strict=True)) if self.splits else {}
