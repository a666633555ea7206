"""What benchmarks put into a run, by class path, to see when and at what cost things happen."""

import functools
import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import datasets

from src.datamodules.digits import DigitsDataModule
from trainworks.datamodules.base import BaseDataModule
from trainworks.datamodules.datasets import ArrayDataset

TICKS: list[float] = []  # when the training loop asked for its batches, in seconds
EPOCHS: list[float] = []  # when its epochs began
STAGES: dict[str, float] = {"imported": time.time()}  # when parts of a command began or ended, in seconds since 1970


class TickingDataset(ArrayDataset):
    """Notes when each batch was asked for; unlike a callback, it costs every kind of loop the same."""

    def __getitems__(self, indices: Any) -> tuple[Tensor, Tensor]:
        """Note the time and return the batch."""
        TICKS.append(time.perf_counter())
        return super().__getitems__(indices)


@dataclass(kw_only=True, eq=False, repr=False)
class MemoryDataModule(BaseDataModule):
    """Floats in memory that need no transform, so that only the loop around them is measured.

    Args:
        num_samples: Training samples.
        shape: Shape of one sample.
    """

    num_samples: int = 60_000
    shape: list[int] = field(default_factory=lambda: [784])

    def load_splits(self) -> dict[str, Dataset[Any]]:
        """Return made-up samples."""
        inputs, targets = made_up(self.num_samples, *self.shape)
        return {"train": TickingDataset(inputs, targets), "val": ArrayDataset(inputs[:640], targets[:640])}


@functools.cache
def made_up(*shape: int) -> tuple[Tensor, Tensor]:
    """Return random inputs of this shape, and ten classes."""
    return torch.randn(*shape), torch.arange(shape[0]) % 10


class MadeUpFashionMNIST(datasets.FashionMNIST):
    """Torchvision's own code over made-up images, as many as Fashion-MNIST has.

    Args:
        root: Ignored.
        train: Whether to be the larger part.
        transform: Applied to each image.
        scale: Share of the images that is there.
    """

    def __init__(self, root: str, train: bool = True, transform: Any = None, scale: float = 1.0) -> None:
        count = round((60_000 if train else 10_000) * scale)
        self.data = torch.randint(256, (count, 28, 28), dtype=torch.uint8)
        self.targets = torch.arange(count) % 10
        self.transform, self.target_transform = transform, None


class EpochClock(Callback):
    """Note when epochs begin."""

    def on_train_epoch_start(self, *_: Any) -> None:
        """Note the time; checkpoints of the epoch before may follow."""
        EPOCHS.append(time.perf_counter())


class FirstStep(Callback):
    """End the process after the first training step."""

    def on_train_batch_end(self, *_: Any) -> None:
        """Leave at once."""
        os._exit(0)


class Rate(Callback):
    """Write samples a second, validation included, then end the process.

    Args:
        path: The file, which is there, and empty, once the training goes on.
        seconds: How long to count, after 1.5 seconds that do not count.
    """

    def __init__(self, path: str, seconds: float) -> None:
        self.path, self.seconds = Path(path), seconds
        self._begin, self._samples = 0.0, 0

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Count."""
        now = time.monotonic()
        self._begin = self._begin or now + 1.5
        if now < self._begin:
            return
        self.path.touch()
        self._samples += len(batch[0])
        if now > self._begin + self.seconds:
            self.path.write_text(str(self._samples / (now - self._begin)))
            os._exit(0)


class Resident(Callback):
    """Write the resident memory at the start of each epoch, in MB, one a line.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def on_train_epoch_start(self, *_: Any) -> None:
        """Write one line."""
        with Path(self.path).open("a", encoding="utf-8") as file:
            file.write(f"{resident():.3f}\n")


def resident() -> float:
    """Return this process's resident memory in MB (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


class TimedDigits(DigitsDataModule):
    """Notes when the digits begin to load, and when they are there."""

    def load(self) -> None:
        """Load between two stamps."""
        STAGES.setdefault("asked for data", time.time())
        super().load()
        STAGES.setdefault("data loaded", time.time())


class StageClock(Callback):
    """Note when fit and test begin and end; put first, so that figures and checkpoints come after its stamps.

    Args:
        path: The file that the stamps are written to.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def on_train_start(self, *_: Any) -> None:
        """Stamp."""
        STAGES["training begins"] = time.time()

    def on_train_end(self, *_: Any) -> None:
        """Stamp."""
        STAGES["trained"] = time.time()

    def on_test_start(self, *_: Any) -> None:
        """Stamp."""
        STAGES["test begins"] = time.time()

    def on_test_end(self, *_: Any) -> None:
        """Stamp, and write all stamps."""
        STAGES["tested"] = time.time()
        Path(self.path).write_text(json.dumps(STAGES), encoding="utf-8")


def step_seconds(num_epochs: int, warm_up: int) -> float:
    """Return the mean time of a step, from the ticks; the first ones of each epoch are left out."""
    ticks = np.array(TICKS).reshape(num_epochs, -1)
    return float(np.diff(ticks[:, warm_up:], axis=1).mean())


def boundary_seconds(num_epochs: int) -> float:
    """Return how long it takes from the last step of an epoch to the first of the next, that step included."""
    ticks = np.array(TICKS).reshape(num_epochs, -1)
    return float((ticks[1:, 0] - ticks[:-1, -1]).mean())


class Terminal:
    """Takes what is printed to a terminal, and drops it: bars are drawn as for a person who watches."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        """Drop the text."""
        return len(text)

    def flush(self) -> None:
        """Do nothing."""

    def isatty(self) -> bool:
        """Claim to be a terminal."""
        return True

    def fileno(self) -> int:
        """Return a descriptor of no use."""
        return sys.__stderr__.fileno()  # type: ignore[union-attr]
