"""The data path against what popular templates do: per-sample Pillow, ToTensor and Normalize in a DataLoader.

python -m benchmarks.data [arrays|augment|photos|index|workers ...] [--photos DIR] [--repetitions N]

DIR holds photographs (.jpg, .jpeg) to measure with; without it, pictures are made up, which compress better than
photographs. One thread, as in a loader's worker. The ratio is the opponent's time over ours.
"""

import argparse
import io
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import datasets, transforms
from torchvision.transforms import v2

from benchmarks.pairs import compare
from trainworks.datamodules import ImageFolderDataModule, VisionDataModule
from trainworks.datamodules.datasets import ArrayDataset, ImageFiles, ImageFormat, KeyedDataset
from trainworks.datamodules.datasets.file_index import pack_names
from trainworks.datamodules.samplers import ArrayBatchSampler, ShardSampler
from trainworks.datamodules.splits import divide
from trainworks.datamodules.transforms import RandomFlip, RandomShift

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


class MadeUpMNIST(datasets.MNIST):
    """Torchvision's own code over 60,000 made-up images."""

    def __init__(self, transform: Callable[[Any], Any] | None = None) -> None:
        self.data = torch.randint(256, (60_000, 28, 28), dtype=torch.uint8)
        self.targets = torch.arange(60_000) % 10
        self.transform, self.target_transform = transform, None


class MadeUpCIFAR10(datasets.CIFAR10):
    """Torchvision's own code over 20,000 made-up images."""

    def __init__(self, transform: Callable[[Any], Any] | None = None) -> None:
        self.data = np.random.default_rng(0).integers(0, 256, (20_000, 32, 32, 3), dtype=np.uint8)
        self.targets = (np.arange(20_000) % 10).tolist()
        self.transform, self.target_transform = transform, None


def floats(mean: list[float], std: list[float]) -> list[nn.Module]:
    """Return our usual last transforms of a batch."""
    return [v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std, inplace=True)]


def read(batches: Iterable[Any]) -> None:
    """Take every batch."""
    for _ in batches:
        pass


def attached(data: Any) -> Any:
    """Return a datamodule that is set up and believes to be training, so that it seeds every batch as it then does."""
    data.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    data.load()
    data.trainer.training = True
    return data


def ours(data: Any) -> Callable[[], None]:
    """Return one epoch through the datamodule's own loader and transfer hook."""
    loader = attached(data).train_dataloader()
    return lambda: read(data.on_after_batch_transfer(batch, 0) for batch in loader)


def theirs(dataset: Dataset[Any], num_workers: int, batch_size: int) -> Callable[[], None]:
    """Return one epoch of the usual way."""
    persistent = num_workers > 0
    loader = DataLoader(
        dataset, batch_size, shuffle=True, num_workers=num_workers, drop_last=True, persistent_workers=persistent
    )
    return lambda: read(loader)


def arrays(options: argparse.Namespace) -> None:
    """Images of the shape of Fashion-MNIST."""
    mean, std = [0.286], [0.353]
    usual = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])
    for num_workers, goal in ((0, "at least 40"), (2, "at least 30 over the better of 0 and 2 workers")):
        data = VisionDataModule(
            root="", num_classes=10, train_dataset=lambda _: MadeUpMNIST(), batch_size=128, val_fraction=0.0,
            train_transform=floats(mean, std),
        )  # fmt: skip
        compare(
            f"60,000 images of 28x28, they: {num_workers} workers", goal, options.repetitions,
            ours=ours(data), theirs=theirs(MadeUpMNIST(usual), num_workers, 128),
        )  # fmt: skip


def augment(options: argparse.Namespace) -> None:
    """Crop, flip and normalise images of the shape of CIFAR-10, drawn for each sample."""
    drawn = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
    usual = transforms.Compose([*drawn, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    data = VisionDataModule(
        root="", num_classes=10, train_dataset=lambda _: MadeUpCIFAR10(), batch_size=128, val_fraction=0.0,
        train_transform=[RandomShift(4), RandomFlip(), *floats(MEAN, STD)],
    )  # fmt: skip
    compare(
        "20,000 images of 32x32, crop, flip, normalise", "at least 12", options.repetitions,
        ours=ours(data), theirs=theirs(MadeUpCIFAR10(usual), 0, 128),
    )  # fmt: skip


def photos(options: argparse.Namespace) -> None:
    """JPEG files to 224 pixels: decoded on the fly, and from the prepared cache."""
    with tempfile.TemporaryDirectory() as folder:
        for size, goal in (((500, 375), "at least 1.5"), ((2000, 1500), "at least 2.2")):
            root = Path(folder, f"{size[0]}")
            write_photos(root, size, options.photos)
            usual = [transforms.Resize(224), transforms.CenterCrop(224), transforms.ToTensor()]
            dataset = datasets.ImageFolder(str(root), transforms.Compose([*usual, transforms.Normalize(MEAN, STD)]))
            ways: dict[str, str] = {"files": goal, "cache": "at least 5"}
            for storage, wanted in ways.items():
                data = ImageFolderDataModule(
                    root=str(root), image_size=224, batch_size=16, num_workers=0, storage=storage,  # type: ignore
                    val_fraction=0.0, test_fraction=0.0, cache_dir=str(Path(folder, "cache")),
                    train_transform=floats(MEAN, STD),
                )  # fmt: skip
                compare(
                    f"JPEG {size[0]}x{size[1]} to 224, ours: {storage}", wanted, options.repetitions,
                    ours=ours(data), theirs=theirs(dataset, 0, 16),
                )  # fmt: skip


def write_photos(root: Path, size: tuple[int, int], source: str | None, count: int = 96) -> None:
    """Save JPEG files of about `size` in two class folders, photographs brought to it (again and again), or made up."""
    paths = [path for path in sorted(Path(source or "").rglob("*.*")) if path.suffix.lower() in (".jpg", ".jpeg")]
    for number in range(count):
        if source:
            image = Image.open(io.BytesIO(paths[number % len(paths)].read_bytes())).convert("RGB")
        else:
            noise = np.random.default_rng(number).integers(0, 256, (60, 80, 3), dtype=np.uint8)
            image = Image.fromarray(noise)
        scale = size[0] / max(image.size)
        wanted = (round(image.width * scale), round(image.height * scale))
        folder = root / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        image.resize(wanted, Image.Resampling.BICUBIC).save(folder / f"{number:03}.jpg", quality=90)


def index(options: argparse.Namespace) -> None:
    """An index of ten million files: how long it takes to build, to divide and to shuffle, and what it holds."""
    length = 10_000_000
    begin = peak_memory()
    start = time.perf_counter()
    names = pack_names(f"class{number % 1000:04}/{number:08}.jpg" for number in range(length))
    whole = ArrayDataset(names, torch.arange(length) % 1000, names=names)
    report("index of 10,000,000 names and classes", start, begin)
    start = time.perf_counter()
    train: Any = divide({"all": whole}, 0.1, 0.1, 0, None, 0)["train"]
    report("divided, stratified by 1,000 classes", start, begin)
    start = time.perf_counter()
    sampler = ShardSampler(len(train), shuffle=True)
    next(iter(ArrayBatchSampler(sampler, 256, drop_last=True)))
    report("first batch of an epoch", start, begin)


def peak_memory() -> float:
    """Return the most memory that this process has held so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def report(name: str, start: float, begin: float) -> None:
    """Print the time since `start` and the growth of the peak since `begin`."""
    print(
        f"{name:<44} {time.perf_counter() - start:6.2f} s   peak memory {peak_memory() - begin:7,.0f} MB more",
        flush=True,
    )


class Counted(ImageFiles):
    """Image files whose images are not decoded, to measure the index alone."""

    def __getitem__(self, item: int) -> Any:
        return len(self.path(item)), int(self.targets[item])


def workers(options: argparse.Namespace) -> None:
    """Memory of a loader's worker before and after it walked over an index of a million files."""
    length = 1_000_000
    names = pack_names(f"class{number % 1000:04}/{number:08}.jpg" for number in range(length))
    files = Counted("", ArrayDataset(names, torch.arange(length) % 1000, names=names), ImageFormat(8))
    lists = [f"class{number % 1000:04}/{number:08}.jpg" for number in range(length)]
    for name, dataset in (("ours, arrays", KeyedDataset(files, 0)), ("theirs, a list of names", Names(lists))):
        for start in multiprocessing.get_all_start_methods():
            batches = ArrayBatchSampler(ShardSampler(length, shuffle=True), 1000, drop_last=True)
            loader: Any = DataLoader(
                dataset, batch_sampler=batches, num_workers=1, persistent_workers=True, multiprocessing_context=start
            )
            iterator = iter(loader)
            next(iterator)
            before = own_memory(iterator._workers[0].pid)
            read(iterator)
            after = own_memory(iterator._workers[0].pid)
            print(
                f"{name}, {start:<12} a worker's own memory {before:6,.0f} MB, after an epoch {after:6,.0f} MB",
                flush=True,
            )
            del iterator, loader


class Names(Dataset[Any]):
    """What popular image folders hold: a list of (name, class) as Python objects."""

    def __init__(self, names: list[str]) -> None:
        self.samples = [(name, number % 1000) for number, name in enumerate(names)]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, item: int) -> tuple[int, int]:
        name, target = self.samples[item]
        return len(name), target


def own_memory(pid: int) -> float:
    """Return the memory that a process shares with no other, in MB (Linux)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private")) / 1024


SECTIONS = {"arrays": arrays, "augment": augment, "photos": photos, "index": index, "workers": workers}


def main() -> None:
    """Run the sections that were named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="section", help=", ".join(SECTIONS))
    parser.add_argument("--photos")
    parser.add_argument("--repetitions", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for section in options.sections or SECTIONS:
        SECTIONS[section](options)


if __name__ == "__main__":
    main()
