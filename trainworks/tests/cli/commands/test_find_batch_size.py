from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import LightningDataModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from trainworks.tests import strangers
from trainworks.tests.conftest import DIGITS, Train


class Hungry(nn.Module):
    """Asks the system for 2 GB a sample: more than a few samples are really refused."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.head = nn.Linear(64, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        torch.empty(len(images) * 2**31, dtype=torch.uint8)  # never touched, so it costs nothing
        logits: Tensor = self.head(images.flatten(1))
        return logits


NET = ("--config", DIGITS, "--model.net", "trainworks.tests.cli.commands.test_find_batch_size.Hungry")


def test_what_fits_is_found_and_the_batch_kept_by_accumulation(train: Train, tmp_path: Path) -> None:
    result = train("find_batch_size", *NET, "--data.batch_size", "256")
    assert result.code == 0, result.err
    size = int(result.out.split(" samples fit")[0].split()[-1])
    assert 1 <= size < 64
    assert f"for batches of 256: --data.batch_size {size} --trainer.accumulate_grad_batches {256 // size}" in result.out
    assert not list(tmp_path.iterdir())  # no run, nothing left
    found = ("--data.batch_size", str(size), "--trainer.accumulate_grad_batches", str(256 // size))
    result = train("fit", *NET, *found, "--trainer.max_epochs", "1", "--trainer.limit_train_batches", str(256 // size))
    assert result.code == 0, result.err


class Remembered(LightningDataModule):
    """Keeps its batch size as many do: among its hyperparameters."""

    def __init__(self, batch_size: int = 32) -> None:
        super().__init__()
        self.save_hyperparameters()

    def train_dataloader(self) -> Any:
        data = TensorDataset(torch.randn(64, 1, 8, 8), torch.arange(64) % 10)
        return DataLoader(data, batch_size=self.hparams["batch_size"])


class WithLoader(strangers.Trained):
    """A module with a loader of its own."""

    def __init__(self, batch_size: int = 32) -> None:
        super().__init__()
        self.batch_size = batch_size

    def train_dataloader(self) -> Any:
        return Remembered(self.batch_size).train_dataloader()


@pytest.mark.parametrize(("kind", "key"), [("Remembered", "data"), ("WithLoader", "model")])
def test_the_size_is_found_where_it_is_kept(train: Train, tmp_path: Path, kind: str, key: str) -> None:
    config = {"model": {"class_path": "trainworks.tests.strangers.Trained"}} | {
        key: {"class_path": f"{__name__}.{kind}"}
    }
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config))
    result = train("find_batch_size", "--config", "own.yaml", f"--{key}.batch_size", "16")
    assert result.code == 0, result.err
    assert "64 samples fit into memory at once (or are all there are)\nthe batch of 16 fits as it is\n" in result.out


def test_data_that_does_not_say_its_size(train: Train, tmp_path: Path) -> None:
    config = {"model": {"class_path": "trainworks.tests.strangers.Trained"}}
    (tmp_path / "own.yaml").write_text(
        yaml.safe_dump(config | {"data": {"class_path": "trainworks.tests.strangers.OwnData"}})
    )
    result = train("find_batch_size", "--config", "own.yaml")
    message = "find_batch_size needs data with an attribute batch_size or hparams.batch_size, which OwnData has not"
    assert (result.code, message in result.err) == (2, True), result.err


@pytest.mark.long
def test_a_batch_that_fits_stays(train: Train) -> None:
    result = train("find_batch_size", "--config", DIGITS)
    assert result.code == 0, result.err
    assert "the batch of 64 fits as it is" in result.out


def test_out_of_memory_says_what_to_change(train: Train) -> None:
    result = train("fit", *NET, "--data.batch_size", "512")
    assert result.code == 1
    assert result.err.startswith("error: out of memory (")
    assert "halve\ndata.batch_size and set trainer.accumulate_grad_batches 2" in result.err
    assert "Traceback" not in result.err
