import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

import trainworks
from trainworks.tests.conftest import DIGITS

SHORT: dict[str, Any] = {
    "trainer.max_epochs": 1,
    "trainer.limit_train_batches": 2,
    "callbacks.figures": None,
    "callbacks.notes": None,
}


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def state() -> tuple[Any, ...]:
    return (
        {**os.environ},
        torch.get_num_threads(),
        torch.get_rng_state().tolist(),
        random.getstate(),
        signal.getsignal(signal.SIGINT),
        torch.are_deterministic_algorithms_enabled(),
    )


def test_trains_twice_alike_and_leaves_the_process_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    before = state()
    one = trainworks.train(DIGITS, SHORT | {"trainer.deterministic": True}, run_name="a")
    assert state() == before
    two = trainworks.train([DIGITS], SHORT | {"trainer.deterministic": True}, run_name="b")
    assert one.metrics == two.metrics and set(one.metrics) == {"test/loss", "test/accuracy"}
    run = Path("logs/digits/a").absolute()
    assert (one.run_directory, one.checkpoint) == (run, run / "checkpoints/best.ckpt")
    assert one.model.predict(torch.zeros(1, 8, 8, dtype=torch.uint8)).label in map(str, range(10))
    assert trainworks.evaluate(one.checkpoint).metrics == one.metrics
    again = trainworks.train(DIGITS, SHORT | {"trainer.deterministic": True}, run_name="a", resume="auto")
    assert again == one
    assert "epoch 1/1  train/accuracy" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"trainer.max_epoch": 3}, r"did you mean max_epochs"),
        ({"model.net.dropout": 3}, r"dropout must be in \[0, 1\)"),
        ({"trainer.devices": 2, "trainer.accelerator": "cpu"}, r"several devices need the command"),
        ({"callbacks.best.monitor": "val/x", "trainer.limit_val_batches": 1}, r"val/x"),
    ],
)
def test_a_mistake_is_one_exception(overrides: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(trainworks.UsageError, match=said):
        trainworks.train(DIGITS, SHORT | overrides)
    assert capsys.readouterr().err == ""
    with pytest.raises(trainworks.UsageError, match="nowhere"):
        trainworks.evaluate("nowhere.ckpt")


class Broken(torch.nn.Linear):
    def __init__(self) -> None:
        super().__init__(64, 10)
        self.calls = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += self.training
        if self.calls == 2:
            raise KeyError("a mistake of the network's author")
        return super().forward(images.flatten(1))


def test_a_crash_is_its_own_exception_and_a_signal_a_keyboard_interrupt() -> None:
    with pytest.raises(KeyError, match="a mistake of the network's author"):
        trainworks.train(DIGITS, SHORT | {"model.net": f"{__name__}.Broken"})
    stop = {"callbacks.stop.class_path": f"{__name__}.Interrupting"}
    with pytest.raises(KeyboardInterrupt, match="SIGINT"):
        trainworks.train(DIGITS, SHORT | stop, run_name="a")
    assert Path("logs/digits/a/checkpoints/last.ckpt").is_file()


class Interrupting(Callback):
    def on_train_batch_start(self, *_: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)


def test_what_is_built_is_trained_by_hand() -> None:
    handler = signal.getsignal(signal.SIGINT)
    built = trainworks.build(DIGITS, SHORT, run_name="a")
    built.trainer.fit(built.module, built.datamodule)
    assert signal.getsignal(signal.SIGINT) is handler
    assert built.trainer.global_step == 2 and (built.run_directory / "checkpoints/best.ckpt").is_file()
