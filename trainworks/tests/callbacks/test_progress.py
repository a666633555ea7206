import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trainworks.callbacks import ProgressPrinter
from trainworks.tests.conftest import DIGITS, QUICK, Train


def test_one_line_an_epoch_and_lines_within_where_there_is_no_terminal(train: Train) -> None:
    often = ("--callbacks.progress.line_seconds", "0.000001", "--trainer.max_epochs", "2")
    result = train("--config", DIGITS, *QUICK, *often)
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert any(line.startswith("epoch 1/2  batch 2/2  train/loss_step ") for line in lines)
    assert any(line.startswith("epoch 2/2 validation  batch 3/3") for line in lines)
    assert "test  batch 6/6" in lines
    for epoch in "12":
        (line,) = (line for line in lines if line.startswith(f"epoch {epoch}/2  train/accuracy"))
        assert [word for word in line.split() if "/" in word][1:] == [
            "train/accuracy", "val/accuracy", "train/loss", "val/loss",
        ]  # fmt: skip
    assert lines[0].startswith("logs/digits/")


def test_a_bar_on_a_terminal_stays_out_of_the_log(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    often = ("--callbacks.progress.refresh_seconds", "0.000001", "--run_name", "a")
    result = train("--config", DIGITS, *QUICK, *often)
    assert result.code == 0
    assert "epoch 1/1:" in result.err
    assert "\r" not in (tmp_path / "logs/digits/a/train.log").read_text()


@pytest.mark.parametrize(
    ("max_epochs", "max_steps", "automatic", "left"),
    [
        (None, 50, True, ["0:01:20 left"]),  # 50 steps of two batches, 20 of them done in 20 seconds
        (2, -1, True, ["0:03:00 left"]),
        (2, 50, True, ["0:01:20 left"]),
        (None, 50, False, ["0:01:20 left"]),  # by hand each optimizer's step counts: 10 in 20 batches
        (None, -1, True, []),
    ],
)
def test_the_time_left(max_epochs: int | None, max_steps: int, automatic: bool, left: list[str]) -> None:
    loop = SimpleNamespace(total_batch_idx=19)
    module = SimpleNamespace(automatic_optimization=automatic)
    trainer: Any = SimpleNamespace(
        max_epochs=max_epochs, max_steps=max_steps, num_training_batches=100, accumulate_grad_batches=2,
        lightning_module=module, fit_loop=loop, global_step=10,
    )  # fmt: skip
    printer = ProgressPrinter()
    printer._num_batches, printer._train_start = 20, time.perf_counter() - 20
    assert printer._time_left(trainer) == left


@pytest.mark.parametrize("interval", ["step", "epoch", "null"])
def test_learning_rates_stand_in_no_epochs_line(train: Train, tmp_path: Path, interval: str) -> None:
    monitor = "lightning.pytorch.callbacks.LearningRateMonitor"
    (tmp_path / "rate.yaml").write_text(
        f"callbacks: {{rate: {{class_path: {monitor}, init_args: {{logging_interval: {interval}}}}}}}"
    )
    words = ("--trainer.max_epochs", "3", "--trainer.log_every_n_steps", "3")  # every second epoch has a third step
    result = train("--config", DIGITS, "--config", "rate.yaml", *QUICK, *words)
    lines = [line for line in result.out.splitlines() if line.startswith("epoch ")]
    assert len({tuple(word for word in line.split() if "/" in word)[1:] for line in lines}) == 1, lines
    assert len(lines) == 3 and "lr-" not in result.out.partition("test/loss")[0]


def test_times_must_be_positive() -> None:
    with pytest.raises(ValueError, match=r"must be above 0, got 0, 60\.0"):
        ProgressPrinter(refresh_seconds=0)
