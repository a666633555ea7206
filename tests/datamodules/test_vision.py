from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets
from torchvision.transforms import v2

from src.datamodules import VisionDataModule
from src.datamodules.datasets import ArrayDataset
from src.datamodules.vision import _channels_first


class InMemory(datasets.VisionDataset):
    """As CIFAR10: one array in HWC order."""

    def __init__(self, root: str, train: bool = True, transform: Any = None) -> None:
        super().__init__(root, transform=transform)
        self.data = np.full((100 if train else 20, 4, 5, 3), 7, dtype=np.uint8)
        self.targets = [index % 5 for index in range(len(self.data))]


def test_arrays_stay_in_memory() -> None:
    data = VisionDataModule("x", 5, InMemory, lambda root: InMemory(root, train=False), val_fraction=0.2)
    data.setup("fit")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 80, "val": 20, "test": 20}
    assert isinstance(data.splits["train"], ArrayDataset)
    images, targets = next(iter(data.val_dataloader()))
    assert (tuple(images.shape), images.dtype) == ((20, 3, 4, 5), torch.uint8)
    assert targets.bincount().tolist() == [4, 4, 4, 4, 4]


def test_a_validation_set_of_its_own_leaves_the_training_set_whole() -> None:
    test = lambda root: InMemory(root, train=False)  # noqa: E731
    data = VisionDataModule("x", 5, InMemory, test, val_dataset=test)
    data.setup("fit")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 100, "val": 20, "test": 20}


def test_files_are_decoded_one_by_one(tmp_path: Path) -> None:
    for index in range(12):
        folder = tmp_path / "abc"[index % 3]
        folder.mkdir(exist_ok=True)
        Image.fromarray(np.full((9 + index, 8, 3), index, dtype=np.uint8)).save(folder / f"{index}.png")
    resize = [v2.Resize((6, 6))]
    build = datasets.ImageFolder
    data = VisionDataModule(str(tmp_path), 3, build, build, val_fraction=0.25, sample_transform=resize, num_workers=0)
    data.setup("fit")
    images, targets = next(iter(data.test_dataloader()))
    assert (tuple(images.shape), images.dtype) == ((12, 3, 6, 6), torch.uint8)
    assert images[:, 0, 0, 0].tolist() == [0, 3, 6, 9, 1, 10, 4, 7, 11, 2, 5, 8]
    assert targets.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert len(data.val_dataloader().dataset) == 3  # type: ignore[arg-type]
    images, targets = next(iter(data.train_dataloader()))  # a Subset, which serves lists of samples
    assert (tuple(images.shape), images.dtype) == ((9, 3, 6, 6), torch.uint8)
    assert targets.bincount().tolist() == [3, 3, 3]


def test_labels_beyond_the_stated_classes_are_an_error() -> None:
    data = VisionDataModule("x", 4, InMemory, InMemory)
    with pytest.raises(ValueError, match=r"data.num_classes is 4, but the labels go from 0 to 4; write 5"):
        data.setup("fit")


@pytest.mark.parametrize("shape", [(2, 8, 9), (2, 8, 9, 3), (2, 3, 8, 9)])
def test_channels_come_first(shape: tuple[int, ...]) -> None:
    assert tuple(_channels_first(torch.zeros(shape)).shape) == (2, 1 if len(shape) == 3 else 3, 8, 9)
