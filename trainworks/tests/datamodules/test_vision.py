from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision import datasets, tv_tensors
from torchvision.transforms import v2

from trainworks.datamodules import VisionDataModule
from trainworks.datamodules.datasets import ArrayDataset
from trainworks.datamodules.datasets.array_dataset import channels_first
from trainworks.datamodules.transforms import KeepLists, PadSequences, PerSample, RandomFlip, RandomShift
from trainworks.errors import UsageError
from trainworks.tests.conftest import write_images


class InMemory(datasets.VisionDataset):
    """As CIFAR10: one array in HWC order."""

    def __init__(self, root: str, train: bool = True, transform: Any = None) -> None:
        super().__init__(root, transform=transform)
        self.data = np.full((100 if train else 20, 4, 5, 3), 7, dtype=np.uint8)
        self.targets = [index % 5 for index in range(len(self.data))]


def make_data(**arguments: Any) -> VisionDataModule:
    test = lambda root: InMemory(root, train=False)  # noqa: E731
    return VisionDataModule(
        **{"root": "x", "num_classes": 5, "train_dataset": InMemory, "test_dataset": test} | arguments
    )


def test_arrays_stay_in_memory() -> None:
    data = make_data(val_fraction=0.2)
    data.setup("fit")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 80, "val": 20, "test": 20}
    assert type(data.splits["train"]) is ArrayDataset
    images, targets = next(iter(data.val_dataloader()))
    assert (tuple(images.shape), images.dtype) == ((20, 3, 4, 5), torch.uint8)
    assert targets.bincount().tolist() == [4, 4, 4, 4, 4]


def test_a_validation_set_of_its_own_leaves_the_training_set_whole() -> None:
    data = make_data(val_dataset=lambda root: InMemory(root, train=False))
    data.setup("fit")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 100, "val": 20, "test": 20}


@pytest.mark.parametrize("storage", ["memory", "files", "cache"])
def test_images_of_any_size_are_made_to_fit(tmp_path: Path, storage: Any) -> None:
    for index in range(12):
        folder = tmp_path / "abc"[index % 3]
        folder.mkdir(exist_ok=True)
        Image.fromarray(np.full((9 + index, 8, 3), index, dtype=np.uint8)).save(folder / f"{index}.png")
    build = datasets.ImageFolder
    data = make_data(
        root=str(tmp_path), num_classes=3, train_dataset=build, test_dataset=build, val_fraction=0.25, num_workers=0,
        image_size=6, storage=storage, cache_dir=str(tmp_path / "cache"),
    )  # fmt: skip
    data.setup("fit")
    assert getattr(data.splits["train"], "serves_batches", False) is (storage != "files")
    images, targets = next(iter(data.test_dataloader()))
    assert (tuple(images.shape), images.dtype) == ((12, 3, 6, 6), torch.uint8)
    assert images[:, 0, 0, 0].tolist() == [0, 3, 6, 9, 1, 10, 4, 7, 11, 2, 5, 8]
    assert targets.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert len(data.splits["val"]) == 3  # type: ignore[arg-type]
    images, targets = next(iter(data.train_dataloader()))
    assert (tuple(images.shape), images.dtype) == ((9, 3, 6, 6), torch.uint8)
    assert targets.bincount().tolist() == [3, 3, 3]
    assert data.class_names == ["a", "b", "c"]


def test_images_of_unknown_size_need_one(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.new("RGB", (8, 9)).save(tmp_path / "a/1.png")
    data = make_data(root=str(tmp_path), train_dataset=datasets.ImageFolder, test_dataset=None)
    with pytest.raises(ValueError, match=r"images of ImageFolder may differ in size; write data.image_size"):
        data.setup("fit")


class Opened(datasets.ImageFolder):
    """Its images are opened and not yet read, as Pillow does it."""

    def __init__(self, root: str) -> None:
        super().__init__(root, loader=lambda path: Image.open(BytesIO(Path(path).read_bytes())))


def test_an_image_that_its_dataset_only_opens_is_named_if_it_is_damaged(tmp_path: Path) -> None:
    write_images(tmp_path / "a", 3)[1].write_bytes((tmp_path / "a/000.jpg").read_bytes()[:-100])
    data = make_data(root=str(tmp_path), train_dataset=Opened, test_dataset=None, image_size=8, storage="memory")
    with pytest.raises(UsageError, match=r"1 unreadable image:\n  Opened, sample 1: cannot be read as an image"):
        data.setup("fit")


class Boxes(Dataset[Any]):
    """Images of different sizes, each with one box as large as itself."""

    def __init__(self, root: str) -> None:
        self.sizes = [(10, 20), (16, 8), (12, 12), (9, 30)]

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> tuple[Image.Image, dict[str, Any]]:
        width, height = self.sizes[index]
        box: Any = tv_tensors.BoundingBoxes([[0, 0, 4, height]], format="XYXY", canvas_size=(height, width))  # type: ignore
        return Image.new("RGB", (width, height)), {"boxes": box, "labels": torch.tensor([index])}


@pytest.mark.parametrize("num_workers", [0, 2])
def test_boxes_travel_with_images_of_different_sizes(num_workers: int) -> None:
    flip = PerSample([v2.RandomHorizontalFlip(1.0), v2.ToDtype(torch.float32, scale=True)])
    data = make_data(
        num_classes=None, train_dataset=Boxes, test_dataset=None, val_fraction=0.0, batch_size=4, collate=KeepLists(),
        num_workers=num_workers, eval_transform=[flip],
    )  # fmt: skip
    data.setup("fit")
    images, targets = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    assert sorted(image.shape[-1] for image in images) == [9, 10, 12, 16]
    for image, target in zip(images, targets, strict=True):
        height, width = image.shape[-2:]
        assert target["boxes"].tolist() == [[width - 4, 0, width, height]]
        assert (type(image), type(target["boxes"]), image.dtype) == (torch.Tensor, torch.Tensor, torch.float32)


class Halves(Dataset[Any]):
    """Images whose left half is white; masks that say so."""

    def __init__(self, root: str) -> None:
        self.root = root

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple[Image.Image, Any]:
        pixels = np.zeros((20 + index, 40, 3), dtype=np.uint8)
        pixels[:, :20] = 255
        return Image.fromarray(pixels), tv_tensors.Mask(torch.from_numpy(pixels[..., 0] // 255))


@pytest.mark.parametrize("fit", ["crop", "stretch"])
def test_masks_travel_through_sample_and_batch_transforms(fit: Any) -> None:
    data = make_data(
        num_classes=None, train_dataset=Halves, test_dataset=None, image_size=16, fit=fit, val_fraction=0.0,
        sample_transform=[v2.RandomHorizontalFlip()], num_workers=0, batch_size=6,
        eval_transform=[RandomFlip(), RandomShift(3)],
    )  # fmt: skip
    data.setup("fit")
    images, masks = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    assert (images.shape, masks.shape) == ((6, 3, 16, 16), (6, 16, 16))
    assert (type(images), type(masks)) == (torch.Tensor, torch.Tensor)
    agreement = ((images[:, 0] > 127) == masks.bool()).float().mean(dim=(1, 2))
    assert agreement.min() > 0.9
    assert len({int(mask[8].float().argmax()) for mask in masks}) > 2  # not all alike


class Sentences(Dataset[Any]):
    def __init__(self, root: str) -> None:
        self.targets = [0, 1, 0, 1, 0, 1]

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.full((index + 1,), index), self.targets[index]


def test_sequences_of_different_lengths_are_padded_by_a_named_collate() -> None:
    options = {"num_classes": 2, "train_dataset": Sentences, "test_dataset": None, "val_fraction": 0.0, "batch_size": 6}
    data = make_data(**options, num_workers=0, collate=PadSequences(value=-1))
    data.setup("fit")
    inputs, targets = next(iter(data.train_dataloader()))
    assert (inputs.shape, targets.tolist()) == ((6, 6), [int(row[0]) % 2 for row in inputs])
    assert all(row.tolist() == [int(row[0])] * (int(row[0]) + 1) + [-1] * (5 - int(row[0])) for row in inputs)
    data = make_data(**options, num_workers=0)
    data.setup("fit")
    with pytest.raises(ValueError, match=r"samples of one batch differ in size: .*data.collate: \S+\.PadSequences"):
        next(iter(data.train_dataloader()))


WRONG_ROOTS = {  # dataset, and what the error says
    "MNIST": r"data.train_dataset: Dataset not found. You can use --data.train_dataset.download true to download it; ",
    "CIFAR10": r"data.train_dataset: Dataset not found or corrupted. You can use --data.train_dataset.download true",
    "VOCSegmentation": "data.train_dataset: Dataset not found or corrupted",
    "OxfordIIITPet": "data.train_dataset: Dataset not found",
    "ImageFolder": r"data.train_dataset: .*nowhere'; ",
    "USPS": r"data.train_dataset: .*nowhere/usps.bz2'; ",
    "ImageNet": r"data.train_dataset: The archive .* is not present in the root directory",
}


@pytest.mark.parametrize("name", WRONG_ROOTS)
def test_a_wrong_root_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    data = VisionDataModule(root="nowhere", train_dataset=getattr(datasets, name), image_size=8)
    with pytest.raises(
        UsageError, match=f"{WRONG_ROOTS[name]}.*data.root is {tmp_path}/nowhere; write --data.root DIR"
    ):
        data.load_splits()


def test_labels_beyond_the_stated_classes_are_an_error() -> None:
    data = make_data(num_classes=4)
    with pytest.raises(ValueError, match=r"data.num_classes is 4, but the labels go from 0 to 4; write 5"):
        data.setup("fit")


@pytest.mark.parametrize("shape", [(2, 8, 9), (2, 8, 9, 3), (2, 3, 8, 9)])
def test_channels_come_first(shape: tuple[int, ...]) -> None:
    assert tuple(channels_first(torch.zeros(shape)).shape) == (2, 1 if len(shape) == 3 else 3, 8, 9)
