"""Boxes from a COCO file: python -m benchmarks.boxes [scenes|photos ...] [--repetitions N] [--quick].

An epoch with flips and floats from this project, against torchvision's reference for detection: CocoDetection, wrapped
for transforms v2, and its collate function in a DataLoader of two workers. The ratio is their time over ours.
"""

import argparse
import contextlib
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2
from torchvision.transforms import v2

from benchmarks.data import ours, read, write_photos
from benchmarks.pairs import compare, run_sections
from benchmarks.write_scenes import write_scenes
from trainworks.datamodules import BoxFilesDataModule
from trainworks.datamodules.transforms import PerSample


def theirs(images: Path, annotations: Path, batch_size: int) -> Callable[[], None]:
    """Return an epoch of torchvision's references/detection."""
    steps = [v2.ToImage(), v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True)]
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        dataset: Any = CocoDetection(str(images), str(annotations), transforms=v2.Compose(steps))
    dataset = wrap_dataset_for_transforms_v2(dataset, target_keys=["boxes", "labels"])
    loader = DataLoader(
        dataset, batch_size, shuffle=True, num_workers=2, drop_last=True, persistent_workers=True, collate_fn=collate
    )
    return lambda: read(loader)


def collate(batch: list[Any]) -> tuple[Any, ...]:
    """Do what torchvision's reference does."""
    return tuple(zip(*batch, strict=True))


def our_epoch(root: Path, image_size: int, batch_size: int, **arguments: Any) -> Callable[[], None]:
    """Return an epoch of a folder with a COCO file; the first decodes it where it is kept."""
    flip: list[nn.Module] = [PerSample([v2.RandomHorizontalFlip()]), v2.ToDtype(torch.float32, scale=True)]
    data = BoxFilesDataModule(
        root=str(root), image_size=image_size, batch_size=batch_size, val_fraction=0.0, test_fraction=0.0,
        train_transform=flip, cache_dir=str(root / ".cache"), **arguments,
    )  # fmt: skip
    return ours(data)


def scenes(options: argparse.Namespace) -> None:
    """The digit scenes, PNG of 64x64 pixels."""
    with tempfile.TemporaryDirectory() as folder:
        root, count = Path(folder), 64 if options.quick else 2000
        write_scenes(root, "coco", [count, 1, 1])
        compare(
            f"{count:,} scenes of 64x64, COCO file", "at least 3", options.repetitions,
            ours=our_epoch(root, 64, 32),
            theirs=theirs(root / "train2017", root / "annotations" / "instances_train2017.json", 32),
        )  # fmt: skip


def photos(options: argparse.Namespace) -> None:
    """JPEG files of 500x375 pixels with four boxes each, padded to 500x500 here and as they are there."""
    with tempfile.TemporaryDirectory() as folder:
        root, count = Path(folder), 32 if options.quick else 512
        write_photos(root, (500, 375), None, count)
        names = sorted(str(path.relative_to(root)) for path in root.rglob("*.jpg"))
        images = [{"id": k, "file_name": name, "width": 500, "height": 375} for k, name in enumerate(names)]
        box = {"category_id": 1, "area": 1e4, "iscrowd": 0}
        boxes = [box | {"id": k, "image_id": k // 4, "bbox": [50, 9 * (k % 4), 100, 90]} for k in range(4 * count)]
        content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "a"}]}
        (root / "boxes.json").write_text(json.dumps(content))
        for storage, goal in {"memory": "at least 3", "files": "none"}.items():
            compare(
                f"{count} JPEG of 500x375, COCO file, ours: {storage}", goal, options.repetitions,
                ours=our_epoch(root, 500, 16, storage=storage), theirs=theirs(root, root / "boxes.json", 16),
            )  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)  # as in a loader's worker
    run_sections(__doc__, {"scenes": scenes, "photos": photos}, 5)
