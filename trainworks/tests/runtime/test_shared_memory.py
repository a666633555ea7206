"""Loaders' workers where there is little shared memory, as in a container."""

import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from trainworks.runtime import shared_memory
from trainworks.runtime.shared_memory import fitting_workers
from trainworks.tests.conftest import CONFIGS, PLAIN, ROOT, write_images

FOLDER = str(CONFIGS / "image_folder.yaml")
Usage = namedtuple("Usage", "total used free")
OWN = """
model:
  class_path: trainworks.tests.examples.classifier.ClassifierModule
  init_args: {net: trainworks.tests.runtime.test_shared_memory.Net, loss: torch.nn.CrossEntropyLoss,
              optimizer: torch.optim.SGD}
data: trainworks.tests.runtime.test_shared_memory.LargeBatches
trainer: {max_epochs: 1, accelerator: cpu}
"""


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1024, 2)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(images[:, 0, 0])
        return logits


class LargeBatches(LightningDataModule):
    """Loaders of its own, whose batches take 2 MB."""

    def train_dataloader(self) -> Any:
        data = TensorDataset(torch.zeros(16, 1, 64, 1024), torch.arange(16) % 2)
        return DataLoader(data, 8, num_workers=2)

    val_dataloader = train_dataloader


def train_with_1_mb(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Train where /dev/shm has 1 MB; skip the test where the system does not let one be mounted."""
    mount = "mount -t tmpfs -o size=1m tmpfs /dev/shm"
    try:
        subprocess.run(["unshare", "-m", "sh", "-c", mount], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"this system mounts no small /dev/shm: {error}")
    command = ["unshare", "-m", "sh", "-c", f'{mount}; exec "$0" "$@"', sys.executable, str(ROOT / "train.py"), *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def test_fewer_workers_than_wanted_where_there_is_no_room(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def read_one() -> Any:
        return [torch.zeros(1, 3, 100, 100), {"boxes": torch.zeros(1, 4), "name": ["a"]}]  # 120,016 bytes

    monkeypatch.setattr(shared_memory.shutil, "disk_usage", lambda _: Usage(64 << 20, 0, 64 << 20))
    assert fitting_workers(8, 64, read_one, 1) == 4
    assert capsys.readouterr().out == (
        "67 MB are free in /dev/shm, and each loader worker needs 15 MB: 4 of 8 are started; "
        "for all of them start the container with --shm-size 8g\n"
    )
    assert fitting_workers(3, 64, read_one, 1) == 3
    assert fitting_workers(8, 64, read_one, 2) == 2  # two processes share it
    assert fitting_workers(8, 512, read_one, 1) == 0
    assert fitting_workers(8, 512, lambda: [][0], 1) == 8  # the loader itself says what is wrong
    monkeypatch.setattr(shared_memory.shutil, "disk_usage", lambda _: Usage(24 << 30, 0, 24 << 30))
    assert fitting_workers(8, 10**9, lambda: pytest.fail("a sample was read"), 1) == 8


def test_a_training_with_workers_has_none_in_1_mb(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_images(tmp_path / "data" / name, 20)
    words = ("--data.root", "data", "--data.image_size", "224", "--data.batch_size", "8", "--data.num_workers", "2")
    words += ("--data.storage", "files", "--trainer.limit_train_batches", "1", "--trainer.max_epochs", "1", *PLAIN)
    done = train_with_1_mb(tmp_path, "fit", "--config", FOLDER, *words)
    assert done.returncode == 0, done.stderr
    assert "1 MB are free in /dev/shm, and each loader worker needs 10 MB: 0 of 2 are started" in done.stdout


def test_loaders_of_another_make_that_find_no_room_get_one_message(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN)
    done = train_with_1_mb(tmp_path, "fit", "--config", "own.yaml")
    assert done.returncode == 1
    assert "error: shared memory ran out, through which loader workers pass batches" in done.stderr
    assert "--shm-size 8g" in done.stderr and "Traceback" not in done.stderr
