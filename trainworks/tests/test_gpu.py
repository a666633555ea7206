"""Everything on one CUDA device: pytest -m gpu. The exact resume on a GPU: test_exact_resume.py."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from trainworks.models import load_model
from trainworks.tests.conftest import CONFIGS, DIGITS, PLAIN, ROOT, Train

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

GPU = ("--trainer.accelerator", "gpu", "--trainer.devices", "1")
SHORT = (*GPU, *PLAIN, "--trainer.max_epochs", "3", "--run_name", "a")
OVERLAYS = [path for path in sorted((CONFIGS / "overlays").glob("*.yaml")) if path.stem != "multinode"]


def weights(folder: Path, name: str = "a") -> dict[str, Any]:
    checkpoint = torch.load(folder / f"logs/digits/{name}/checkpoints/last.ckpt", map_location="cpu", weights_only=True)
    return dict(checkpoint["state_dict"])


def metrics(folder: Path) -> dict[str, float]:
    return dict(json.loads((folder / "logs/digits/a/run.json").read_text())["metrics"])


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.stem)
def test_digits_are_learned_with(train_process: Train, tmp_path: Path, overlay: Path) -> None:
    """Through the real command line; DDP and FSDP over NCCL, in a process of their own."""
    # given after the overlay, which may be written for more devices
    result = train_process("--config", DIGITS, "--config", str(overlay), *GPU, "--run_name", "a")
    assert result.code == 0, result.err
    record = json.loads((tmp_path / "logs/digits/a/run.json").read_text())
    assert record["hardware"]["num_devices"] == 1
    assert record["hardware"]["accelerator"] != "cpu"
    if overlay.stem not in ("debug", "overfit"):
        assert metrics(tmp_path)["test/accuracy"] > 0.97


class Watch(Callback):
    """Writes down the backend, and the bytes that are allocated at the end of each epoch."""

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        backend = torch.distributed.get_backend() if torch.distributed.is_initialized() else "none"
        with Path("watch.txt").open("a") as file:
            file.write(f"{backend} {torch.cuda.memory_allocated()}\n")


WATCH = ("--callbacks.watch", "trainworks.tests.test_gpu.Watch")


def test_ddp_runs_over_nccl(train_process: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    result = train_process("fit", "--config", DIGITS, *SHORT, *WATCH, "--trainer.strategy", "ddp")
    assert result.code == 0, result.err
    assert [line.split()[0] for line in (tmp_path / "watch.txt").read_text().splitlines()] == ["nccl"] * 3


def test_memory_stays_flat(train: Train, tmp_path: Path) -> None:
    result = train("fit", "--config", DIGITS, *SHORT, *WATCH, "--trainer.max_epochs", "8")
    assert result.code == 0, result.err
    allocated = [int(line.split()[1]) for line in (tmp_path / "watch.txt").read_text().splitlines()]
    assert len(allocated) == 8
    assert max(allocated[2:]) - allocated[1] < 100_000  # bytes; a batch of activations has more


watched_batches: list[int] = []  # batches during which nothing may wait


class NoWaiting(Callback):
    """Makes whatever waits for the device an error, from the end of one batch to the end of another."""

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.current_epoch == 0 and batch_idx in (9, 17):  # clear of the steps that SpeedMonitor times
            torch.cuda.set_sync_debug_mode("error" if batch_idx == 9 else "default")
        if torch.cuda.get_sync_debug_mode() == 2:
            watched_batches.append(batch_idx + 1)

    def on_exception(self, *_: Any) -> None:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])  # fp16 reads its scale in every step
def test_no_step_waits_for_the_device(train: Train, precision: str) -> None:
    watched_batches.clear()
    words = ("--callbacks.watch", "trainworks.tests.test_gpu.NoWaiting", "--trainer.precision", precision)
    result = train("fit", "--config", DIGITS, *SHORT, *words, "--trainer.log_every_n_steps", "1000")
    assert result.code == 0, result.err
    assert watched_batches == list(range(10, 18))


def test_waiting_is_noticed() -> None:
    """What the test above relies on."""
    value = torch.ones(1, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        with pytest.raises(RuntimeError, match="synchronizing"):
            value.item()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_the_optimizer_is_fused(train: Train, tmp_path: Path) -> None:
    assert train("fit", "--config", DIGITS, *SHORT).code == 0
    checkpoint = torch.load(tmp_path / "logs/digits/a/checkpoints/last.ckpt", map_location="cpu", weights_only=True)
    assert all(group["fused"] for group in checkpoint["optimizer_states"][0]["param_groups"])


def test_deterministic_trainings_are_the_same(train: Train, tmp_path: Path) -> None:
    for name in ("a", "b"):
        words = (*SHORT, "--run_name", name, "--trainer.deterministic", "true")
        assert train("fit", "--config", DIGITS, *words).code == 0
    one, other = weights(tmp_path, "a"), weights(tmp_path, "b")
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_what_a_gpu_trained_works_on_a_cpu(train: Train, tmp_path: Path) -> None:
    assert train("--config", DIGITS, *GPU, *PLAIN, "--run_name", "a").code == 0
    model = load_model(tmp_path / "logs/digits/a/checkpoints/best.ckpt")
    assert {parameter.device.type for parameter in model.parameters()} == {"cpu"}
    on_gpu = metrics(tmp_path)["test/accuracy"]
    result = train("test", "--config", DIGITS, "--run_name", "a", "--trainer.accelerator", "cpu")
    assert result.code == 0, result.err
    assert metrics(tmp_path)["test/accuracy"] == pytest.approx(on_gpu, abs=0.003)  # one image of 359


def test_a_compiled_network_has_the_same_checkpoint(train: Train, tmp_path: Path) -> None:
    overlay = CONFIGS / "overlays/compile.yaml"
    assert train("fit", "--config", DIGITS, *SHORT).code == 0
    assert train("fit", "--config", DIGITS, "--config", str(overlay), *SHORT, "--run_name", "b").code == 0
    one, other = weights(tmp_path, "a"), weights(tmp_path, "b")
    assert {key: value.shape for key, value in one.items()} == {key: value.shape for key, value in other.items()}
