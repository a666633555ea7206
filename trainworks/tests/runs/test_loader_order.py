"""Loaders of other people's datamodules go on in the same order when a run continues."""

import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer, seed_everything
from torch import Tensor, nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    TensorDataset,
    WeightedRandomSampler,
)

from trainworks.callbacks import LastCheckpoint
from trainworks.runs.checkpoint_io import DurableCheckpointIO
from trainworks.tests.conftest import PLAIN, ROOT, Train, same_weights

pytestmark = pytest.mark.filterwarnings("ignore")  # what Lightning thinks of workers and of continuing in an epoch

EXACT = "brings its own loaders: a run that is stopped goes on in the same order, bit by bit the same"
INEXACT = "brings its own loaders: a run that is stopped can go on, but not bit by bit the same"
OTHER = "this data came in another order: the result will not be bit by bit the same"
INPUTS = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
POINTS = TensorDataset(INPUTS, INPUTS.sum(1, keepdim=True))


class Noisy(Dataset[Any]):
    """Draws for each sample from all three generators."""

    def __len__(self) -> int:
        return len(POINTS)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        inputs, target = POINTS[index]
        return inputs + torch.randn(8) + random.random() + float(np.random.normal()), target


class Streamed(IterableDataset[Any]):
    """Without a length, so that a batch is read ahead."""

    def __iter__(self) -> Iterator[Any]:
        return iter(POINTS)  # type: ignore[call-overload]


class Counted(Sampler[int]):
    """Counts its epochs by itself, which nobody can put back."""

    epoch = 0

    def __len__(self) -> int:
        return len(POINTS)

    def __iter__(self) -> Iterator[int]:
        self.epoch += 1
        return iter(np.random.default_rng(self.epoch).permutation(len(POINTS)).tolist())


class Shuffled:
    """No loader of torch's."""

    def __iter__(self) -> Iterator[Any]:
        return iter([POINTS[part] for part in torch.randperm(60).split(10)])


class Named(DataLoader[Any]):
    """One of torch's with arguments of its own."""

    def __init__(self) -> None:
        super().__init__(Noisy(), 10, shuffle=True)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


LOADERS: dict[str, Callable[[int], Any]] = {
    "noisy": lambda workers: DataLoader(Noisy(), 10, shuffle=True, num_workers=workers),
    "generator": lambda workers: DataLoader(Noisy(), 10, shuffle=True, generator=generator(), num_workers=workers),
    "weighted": lambda workers: DataLoader(POINTS, 10, sampler=WeightedRandomSampler([0.1] * 30 + [1.0] * 30, 60)),
    "sampler": lambda workers: DataLoader(POINTS, 10, sampler=RandomSampler(POINTS, True, 60, generator())),
    "several": lambda workers: {"a": DataLoader(Noisy(), 10), "b": DataLoader(POINTS, 10, shuffle=True)},
    "named": lambda workers: Named(),
    "streamed": lambda workers: DataLoader(Streamed(), 10, num_workers=workers),
    "other": lambda workers: Shuffled(),
    "counted": lambda workers: DataLoader(POINTS, 10, sampler=Counted()),
}


class Data(LightningDataModule):
    """One of these loaders, and two for validation, which draw too."""

    def __init__(self, kind: str, workers: int = 0) -> None:
        super().__init__()
        self.kind, self.workers = kind, workers

    def train_dataloader(self) -> Any:
        return LOADERS[self.kind](self.workers)

    def val_dataloader(self) -> Any:
        return [DataLoader(Noisy(), 30), DataLoader(POINTS, 30)]


class Net(LightningModule):
    """Draws in its step from all generators that the data draws from."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 1))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        inputs, targets = batch["a"] if isinstance(batch, dict) else batch
        outputs: Tensor = self.net(inputs * random.random() + np.random.normal())
        return (outputs - targets).pow(2).mean()

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("loss", self.net(batch[0]).mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), 0.01)


class Stops(Callback):
    """Fails before a batch, counted over all epochs."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        if trainer.fit_loop.total_batch_idx == self.batch:
            raise KeyError("stopped")


def fit(folder: Path, kind: str, workers: int, steps: int | None, stop: int = -1, **options: Any) -> Path:
    """Train, from the checkpoint in this folder if there is one."""
    seed_everything(0, workers=True)
    last = LastCheckpoint(str(folder / "checkpoints"), every_n_steps=steps)
    trainer = Trainer(
        max_epochs=3,
        accelerator="cpu",
        callbacks=[last, Stops(stop)],
        plugins=[DurableCheckpointIO()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    start = str(last.path) if last.path.exists() else None
    try:
        trainer.fit(Net(), datamodule=Data(kind, workers), ckpt_path=start)
    except KeyError:
        assert stop >= 0
    return folder


@pytest.mark.parametrize(
    ("kind", "workers", "options"),
    [
        *(("noisy", workers, {}) for workers in (0, 2)),
        *((kind, 0, {}) for kind in LOADERS if kind not in ("noisy", "counted")),
        ("noisy", 0, {"accumulate_grad_batches": 2, "val_check_interval": 2}),
    ],
)
def test_it_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, workers: int, options: dict[str, Any]
) -> None:
    whole = fit(tmp_path / "whole", kind, workers, None, **options)
    promise = INEXACT if kind in ("streamed", "other") else EXACT
    assert capsys.readouterr().out == f"Data {promise}\n"
    cut = tmp_path / "cut"
    shown = []
    for steps, stop in ((1, 3), (None, 7), (1, 11), (1, -1)):  # in the first epoch, at its end, in the second
        fit(cut, kind, workers, steps, stop, **options)
        shown.append(capsys.readouterr().out.removeprefix(f"Data {promise}\n"))
    past = "batches of this epoch to read past, to go on in the same order: {}\n"
    assert shown == ["", past.format(2), "", past.format(4)]
    assert same_weights(whole, cut)


def test_another_order_is_said_to_be_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit(tmp_path, "counted", 0, 1, 11)
    assert INEXACT in capsys.readouterr().out
    fit(tmp_path, "counted", 0, 1)
    assert capsys.readouterr().out.splitlines()[1:] == [
        "batches of this epoch to read past, to go on in the same order: 4",
        OTHER,
    ]


@pytest.mark.kills
def test_killed_within_an_epoch_and_at_its_end(
    train_process: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = "class_path: trainworks.tests.runs.test_loader_order"
    data = f"{{{here}.Data, init_args: {{kind: noisy, workers: 2}}}}"
    (tmp_path / "e.yaml").write_text(f"model: {{{here}.Net}}\ndata: {data}\ntrainer: {{max_epochs: 3}}\n")
    words = ("--config", "e.yaml", "--callbacks.bomb=trainworks.tests.bomb.Bomb", *PLAIN)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert train_process(*words, "--run_name", "whole").code == 0
    for bomb, steps in ("kill:9", "1"), ("kill:13", "null"), ("", "1"):
        monkeypatch.setenv("BOMB", bomb)
        often = ("--callbacks.last.every_n_steps", steps)
        result = train_process(*words, *often, "--run_name", "a", "--resume", "auto")
        assert result.code == (-signal.SIGKILL if bomb else 0), result.err
    assert "step 12" in result.out and EXACT in result.out
    assert same_weights(tmp_path / "logs/e/whole", tmp_path / "logs/e/a")
