"""From JPEG files to a GPU: python -m benchmarks.gpu_files [--photos DIR] [--net resnet18] [--repetitions N].

The same training (ResNet, bf16, channels_last, fused SGD) is fed in four ways: from images that lie on the device; by
this project from a folder, with what it prepares by default; by this project with every file decoded anew; and by the
usual DataLoader with Pillow. Images a second, and each way's share of the first. Without a GPU nothing is measured;
`--device cpu --image_size 32 --num_files 32 --batch_size 4 --steps 2` tries the program itself.
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassAccuracy
from torchvision.datasets import ImageFolder
from torchvision.models import get_model
from torchvision.transforms import v2

from benchmarks.data import MEAN, STD, floats, write_photos
from benchmarks.gpu import Clock, Flags, ResidentData, arguments, default_callbacks, has_device
from benchmarks.ours import hidden
from benchmarks.pairs import measure, record
from src.models.classifier import ClassifierModule
from trainworks.callbacks import ChannelsLast
from trainworks.datamodules import ImageFolderDataModule
from trainworks.runtime.devices import has_bf16

FAST = Flags(tf32=True, bf16=True, channels_last=True, fused=True)


def speed(options: argparse.Namespace, device: torch.device, data: Any) -> float:
    """Train for one epoch and return the images a second of its last steps."""
    optimizer = partial(torch.optim.SGD, lr=0.01, momentum=0.9, fused=True)
    accuracy = MulticlassAccuracy(1000, average="micro", validate_args=False)
    net = get_model(options.net, num_classes=1000)
    module = ClassifierModule(net, nn.CrossEntropyLoss(), optimizer, metrics={"accuracy": accuracy})
    clock = Clock(options.steps)
    with tempfile.TemporaryDirectory() as folder, hidden():
        trainer = Trainer(
            max_epochs=1, limit_train_batches=options.warmup + options.steps, limit_val_batches=0, devices=1,
            accelerator="gpu" if device.type == "cuda" else "cpu", benchmark=True,
            precision="bf16-mixed" if has_bf16(device) else "32-true",
            logger=TensorBoardLogger(folder, name="", version=""), use_distributed_sampler=False,
            callbacks=[*default_callbacks(folder), ChannelsLast(), clock], enable_model_summary=False,
        )  # fmt: skip
        if isinstance(data, DataLoader):
            trainer.fit(module, data)
        else:
            trainer.fit(module, datamodule=data)
    return options.batch_size / clock.seconds


def main(words: list[str] | None = None) -> None:
    """Measure and print."""
    parser = arguments(__doc__, "resnet18", steps=60, repetitions=3)
    parser.add_argument("--photos", help="folder of JPEGs to copy from; without it pictures of 500x375 are made up")
    parser.add_argument("--num_files", type=int, default=20_000)
    parser.add_argument("--num_workers", type=int, default=16)
    options = parser.parse_args(words)
    device = torch.device(options.device)
    if not has_device(device):
        return
    FAST.set()
    shape = (min(options.num_files, 4 * options.batch_size), 3, options.image_size, options.image_size)
    resident = torch.randint(256, shape, dtype=torch.uint8, device=device)
    num_steps = options.warmup + options.steps
    common: dict[str, Any] = {"batch_size": options.batch_size, "train_transform": floats(MEAN, STD)}
    usual = [v2.Resize(options.image_size), v2.CenterCrop(options.image_size), v2.ToImage(), *floats(MEAN, STD)]
    with tempfile.TemporaryDirectory() as name:
        root = Path(name, "photos")
        write_photos(root, (500, 375), options.photos, options.num_files)
        folder: dict[str, Any] = {**common, "root": str(root), "image_size": options.image_size, "val_fraction": 0.0}
        folder |= {"test_fraction": 0.0, "cache_dir": str(Path(name, "cache")), "eval_transform": []}
        ways: dict[str, Callable[[], Any]] = {
            "on the device": lambda: ResidentData(
                images=resident, num_steps=num_steps, memory_format=torch.channels_last, **common
            ),
            "folder, prepared": lambda: ImageFolderDataModule(**folder),
            "folder, decoded anew": lambda: ImageFolderDataModule(
                **folder, storage="files", num_workers=options.num_workers
            ),
            "DataLoader with Pillow": lambda: DataLoader(
                ImageFolder(root, v2.Compose(usual)), options.batch_size, shuffle=True, drop_last=True,
                num_workers=options.num_workers, pin_memory=device.type == "cuda",
            ),
        }  # fmt: skip
        timed = {way: lambda make=make: speed(options, device, make()) for way, make in ways.items()}
        speeds = measure(options.repetitions, timed)
    for way, values in speeds.items():
        record(f"{options.net}, {way}", "", values, "images/s")
    for way in list(ways)[1:]:
        shares = [own / best for own, best in zip(speeds[way], speeds["on the device"], strict=True)]
        goal = "at least 0.9" if way == "folder, prepared" else ""
        record(f"{options.net}, {way}: share of images on the device", goal, shares, "x")


if __name__ == "__main__":
    main()
