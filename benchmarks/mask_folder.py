"""An epoch of images with masks, kept in memory, against what people write: Pillow and v2 for each sample, two workers.

python -m benchmarks.mask_folder [flip|crop ...] [--repetitions N] [--quick]

Both flip, or crop and flip, and normalise, at 256 pixels, drawn for each image, of JPEG files of 500x375 and PNG masks.
Ours takes one thread of the process that trains, theirs two processes beside it.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from benchmarks.data import MEAN, STD, floats, ours, theirs
from benchmarks.pairs import compare, run_sections
from trainworks.datamodules import MaskFolderDataModule
from trainworks.datamodules.transforms import RandomFlip, RandomResizedCrop

SIZE = 256


class Pairs(Dataset[Any]):
    """The usual dataset of images and masks."""

    def __init__(self, root: Path, drawn: list[nn.Module]) -> None:
        self.images, self.masks = sorted(root.glob("images/*")), sorted(root.glob("masks/*"))
        last = [v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True), v2.Normalize(MEAN, STD)]
        self.transform = v2.Compose([*drawn, *last])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, item: int) -> Any:
        image = tv_tensors.Image(Image.open(self.images[item]).convert("RGB"))
        return self.transform(image, tv_tensors.Mask(np.array(Image.open(self.masks[item]))))


def write(root: Path, count: int) -> None:
    """Save smooth images and masks of ten classes."""
    for number in range(count):
        small = np.random.default_rng(number).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        for folder, pixels, ending in (("images", small, "jpg"), ("masks", small[::10, ::10, 0] % 10, "png")):
            (root / folder).mkdir(parents=True, exist_ok=True)
            way = Image.Resampling.BICUBIC if folder == "images" else Image.Resampling.NEAREST
            Image.fromarray(pixels).resize((500, 375), way).save(root / folder / f"{number:04}.{ending}", quality=90)


def measure(options: argparse.Namespace, name: str, goal: str, own: list[nn.Module], usual: list[nn.Module]) -> None:
    """Compare an epoch of both ways."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), 32 if options.quick else 320)
        data = MaskFolderDataModule(
            root=folder, image_size=SIZE, fit="stretch", num_classes=10, batch_size=16, storage="memory",
            val_fraction=0.0, test_fraction=0.0, train_transform=[*own, *floats(MEAN, STD)],
        )  # fmt: skip
        compare(name, goal, options.repetitions, ours=ours(data), theirs=theirs(Pairs(Path(folder), usual), 2, 16))


def flip(options: argparse.Namespace) -> None:
    """Flip and normalise; the usual way resizes each sample anew."""
    usual = [v2.Resize((SIZE, SIZE)), v2.RandomHorizontalFlip()]
    measure(options, "masks at 256, flip, they: 2 workers", "at least 10", [RandomFlip()], usual)


def crop(options: argparse.Namespace) -> None:
    """Crop and resize at random, flip and normalise."""
    own, usual = RandomResizedCrop(SIZE), v2.RandomResizedCrop(SIZE, (0.35, 1.0))
    transforms = [own, RandomFlip()], [usual, v2.RandomHorizontalFlip()]
    measure(options, "masks at 256, crop, flip, they: 2 workers", "", *transforms)


if __name__ == "__main__":
    run_sections(__doc__, {"flip": flip, "crop": crop}, repetitions=7)
