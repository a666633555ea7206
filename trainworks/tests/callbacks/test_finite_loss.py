import json
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainworks.callbacks import FiniteLoss
from trainworks.errors import RunFailure
from trainworks.tests.conftest import DIGITS, ROOT, Train

WORDS = ("--config", DIGITS, "--trainer.max_epochs", "3", "--trainer.limit_train_batches", "6", "--run_name", "a")


class Fragile(nn.Module):
    """A network one of whose layers breaks in its n-th training batch, in the way that the variable BREAK tells."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.flatten, self.norm, self.layer, self.head = (
            nn.Flatten(),
            nn.BatchNorm1d(64),
            Layer(),
            nn.Linear(8, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.layer(self.norm(self.flatten(images))))
        return logits


class Layer(nn.Linear):
    def __init__(self) -> None:
        super().__init__(64, 8)
        self.count = nn.Parameter(torch.tensor(0.0), requires_grad=False)  # saved, but not undone as a buffer would be

    def forward(self, inputs: Tensor) -> Tensor:
        how, _, at = os.environ.get("BREAK", ":-1").partition(":")
        outputs: Tensor = super().forward(inputs)
        broken = self.training and int(self.count) == int(at)
        self.count += self.training
        if broken and how == "output":
            return outputs * torch.nan
        if broken and how == "gradient":  # finite here, not finite backwards
            return outputs + (outputs * 0).sqrt()
        return outputs


NET = ("--model.net", "trainworks.tests.callbacks.test_finite_loss.Fragile")


def test_losses_are_looked_at_every_so_many_batches() -> None:
    callback, module, loss = FiniteLoss(), nn.Linear(1, 1), torch.tensor(torch.nan)
    seen = SimpleNamespace(total_batch_idx=0)
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    trainer: Any = SimpleNamespace(log_every_n_steps=3, fit_loop=seen, num_training_batches=9, world_size=1)
    trainer.strategy, trainer.default_root_dir = strategy, "logs/a"
    trainer.lightning_module = SimpleNamespace(automatic_optimization=True)
    for number in range(2):
        seen.total_batch_idx = number
        callback.on_train_batch_end(trainer, module, loss, None, number)
    seen.total_batch_idx = 2
    with pytest.raises(RunFailure, match="in batch 0 of epoch 0"):
        callback.on_train_batch_end(trainer, module, loss, None, 2)


@pytest.mark.parametrize(("every", "batch"), [("1", 7), ("4", 7), ("100", 7), ("100", 17)])
def test_the_run_stops_and_names_the_batch(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: str, batch: int
) -> None:
    monkeypatch.setenv("BREAK", f"output:{batch}")
    result = train(*WORDS, *NET, "--trainer.log_every_n_steps", every)
    assert result.code == 1
    epoch, within = divmod(batch, 6)
    assert f"in batch {within} of epoch {epoch} (batch {batch} of the run, all counted from 0)" in result.err
    assert "Traceback" not in result.err
    run = tmp_path / "logs/digits/a"
    assert json.loads((run / "run.json").read_text())["exit_status"] == 1
    for path in (run / "checkpoints").glob("*.ckpt"):
        weights = torch.load(path, weights_only=True)["state_dict"]
        assert all(torch.isfinite(value).all() for value in weights.values())
    assert len(list((run / "checkpoints").glob("*.ckpt"))) >= 2


def test_weights_that_are_not_finite_are_never_saved(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gradient spoils the weights in the very last step of an epoch: no loss has shown it yet."""
    monkeypatch.setenv("BREAK", "gradient:11")
    result = train(*WORDS, *NET, "--trainer.limit_val_batches", "0", "--callbacks.best", "null")
    assert result.code == 1
    assert "holds NaN or infinite values after batch 5 of epoch 1" in result.err
    saved = torch.load(tmp_path / "logs/digits/a/checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == 6


@pytest.mark.long
@pytest.mark.parametrize("how", ["output", "gradient"])
def test_bad_steps_can_be_left_out(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setenv("BREAK", f"{how}:7")
    result = train(*WORDS, *NET, "--callbacks.finite.skip", "true")
    assert result.code == 0, result.err
    assert "1 steps were skipped, since a gradient was not finite" in result.out
    saved = torch.load(tmp_path / "logs/digits/a/checkpoints/last.ckpt", weights_only=True)
    assert saved["global_step"] == 18
    assert all(torch.isfinite(value).all() for value in saved["state_dict"].values())
    assert saved["callbacks"]["FiniteLoss"] == {"num_skipped": 1}


@pytest.mark.two_processes
def test_two_processes_leave_out_the_same_step(
    train_process: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    two = ("--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp")
    monkeypatch.setenv("BREAK", "output:7")
    result = train_process(*WORDS, *NET, *two, "--callbacks.finite.skip", "true")
    assert result.code == 0, result.err
    assert result.out.count("1 steps were skipped") == 1
    result = train_process(*WORDS[:-1], "b", *NET, *two, "--trainer.log_every_n_steps", "100")
    assert result.code == 1
    assert "in batch 1 of epoch 1 (batch 7 of the run" in result.err


@pytest.mark.parametrize(
    ("how", "cause"),
    [
        ("output", "first layer whose output is not finite: net.layer (Layer), from finite inputs"),
        ("gradient", "the loss is finite, but after the step"),
    ],
)
def test_a_replay_names_samples_and_layer(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, cause: str
) -> None:
    monkeypatch.setenv("BREAK", f"{how}:9")
    assert train(*WORDS, *NET).code == 1
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.ckpt")}
    result = train("replay", "--resume", "logs/digits/a", "--batch", "9")
    assert result.code == 0, result.err
    assert "batch 3 of epoch 1, 64 samples: sample " in result.out
    assert cause in result.out
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.ckpt")} == before
    assert "everything is finite here" in train("replay", "--resume", "logs/digits/a", "--batch", "8").out
    missed = train("replay", "--resume", "logs/digits/a", "--batch", "99")
    assert missed.code == 2
    assert re.search(r"--batch 99: from \S+last.ckpt the run goes through the batches 6 to 17; an older", missed.err)
