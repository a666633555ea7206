"""A training that was interrupted anywhere and continued ends exactly as the undisturbed one."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainworks.runs.sharded import merge_shards
from trainworks.tests.conftest import CONFIGS, DIGITS, PLAIN, ROOT, Train, all_but, write_images

FOLDER = str(CONFIGS / "image_folder.yaml")
LIMITS = ("--trainer.max_epochs", "3", "--trainer.limit_train_batches", "7", "--trainer.limit_val_batches", "2")
SHORT = (*LIMITS, *PLAIN)
NET = ("--model.net.layers", "[4, M, 8]", "--model.net.dropout", "0.3", "--trainer.log_every_n_steps", "1")


def state(run: Path) -> dict[str, Any]:
    path = run / "checkpoints/last.ckpt"
    checkpoint: dict[str, Any] = merge_shards(path) if path.is_dir() else torch.load(path, weights_only=True)
    return checkpoint


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        same = one.shape == other.shape and torch.equal(one.nan_to_num(), other.nan_to_num())
        return [] if same else [path]
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return [] if np.array_equal(one, other) else [path]
    if isinstance(one, dict) and isinstance(other, dict):
        keys = [f"{path}: {set(one) ^ set(other)}"] if set(one) != set(other) else []
        return keys + [
            found for key in one if key in other for found in differences(one[key], other[key], f"{path}.{key}")
        ]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [found for k, pair in pairs for found in differences(*pair, f"{path}.{k}")]
    equal = one == other or (isinstance(one, float) and math.isnan(one) and math.isnan(other))
    return [] if equal else [f"{path}: {one!r:.80} {other!r:.80}"]


def compare(reference: Path, resumed: Path) -> None:
    """Weights, optimizer, schedulers, counters, callbacks, metrics and curves are the same."""
    one, other = state(reference), state(resumed)
    for checkpoint, run in ((one, reference), (other, resumed)):
        for callback in checkpoint["callbacks"].values():  # paths differ, and Lightning forgets a score nobody reads
            callback.pop("current_score", None)
            for key in ("best_model_path", "dirpath", "best_k_models", "kth_best_model_path", "last_model_path"):
                if key in callback:
                    callback[key] = str(callback[key]).replace(str(run.absolute()), "")
        checkpoint["callbacks"].pop("Timer", None)
        checkpoint.pop("hyper_parameters")
        checkpoint["exact"].pop("folder")
    assert differences(one, other) == []
    records = [json.loads((run / "run.json").read_text()) for run in (reference, resumed)]
    for key in ("metrics", "best", "exit_status"):
        assert differences(records[0][key], records[1][key], key) == []
    curves = [scalars(run) for run in (reference, resumed)]
    assert differences(curves[0], curves[1], "curves") == []


def scalars(run: Path, but: str = "speed/") -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows, but for times."""
    events = EventAccumulator(str(run), size_guidance={"scalars": 0}).Reload()
    tags = [tag for tag in events.Tags()["scalars"] if not but or not tag.startswith(but)]
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}


BOMB = "--callbacks.bomb=trainworks.tests.bomb.Bomb"


UNDISTURBED: dict[Any, Path] = {}  # runs of this process, by what was typed and what stands in the files


@pytest.fixture
def interrupted(
    train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., list[str]]:
    """Train undisturbed, and again with interruptions; both must end alike. Returns what the second one printed."""

    def run(config: str, *words: str, bombs: tuple[str, ...], workers: Sequence[str] = ()) -> list[str]:
        command = ("--config", config, *words, BOMB, "--run_name")
        counts = [("--data.num_workers", number) for number in workers] or [()] * (len(bombs) + 1)
        files = {path: path.is_dir() or path.read_text() for path in sorted(Path().iterdir())}
        key = (command, Path.cwd() if True in files.values() else repr(files))
        if key not in UNDISTURBED:
            root = tmp_path_factory.mktemp("undisturbed")
            whole = train(*command, "whole", "--trainer.default_root_dir", str(root))
            assert whole.code == 0, whole.err
            UNDISTURBED[key] = root / Path(config).stem / "whole"
        shown = []
        for bomb, count in zip(bombs, counts, strict=False):
            monkeypatch.setenv("BOMB", bomb)
            result = train(*command, "cut", "--resume", "auto", *count)
            assert result.code == 1 and "bomb" in result.err, result.err
            shown.append(result.out)
        monkeypatch.delenv("BOMB")
        result = train(*command, "cut", "--resume", "auto", *counts[-1])
        assert result.code == 0, result.err
        compare(UNDISTURBED[key], Path("logs") / Path(config).stem / "cut")
        return [*shown, result.out]

    return run


STEPS = ("--callbacks.last.every_n_steps", "2")


PLACES = (
    "batch:0", "batch:1", "batch:5", "batch:6", "batch:7", "batch:8", "batch:13", "batch:14", "batch:20",
    "validation_start:1", "validation_start:2", "validation_end:1", "validation_end:2", "epoch_end:1", "epoch_end:2",
    "epoch_start:1", "epoch_start:2", "test_start:3",
)  # fmt: skip


@pytest.mark.parametrize("bomb", all_but(("batch:5", "epoch_end:1"), PLACES, pytest.mark.kills))
def test_interrupted_anywhere(interrupted: Callable[..., list[str]], bomb: str) -> None:
    shown = interrupted(DIGITS, *SHORT, *NET, *STEPS, bombs=(bomb,))
    assert ("no checkpoint yet" if bomb in ("batch:0", "batch:1") else "continues from") in shown[-1]


@pytest.mark.kills
def test_interrupted_again_and_again(interrupted: Callable[..., list[str]]) -> None:
    shown = interrupted(DIGITS, *LIMITS, *NET, *STEPS, bombs=("batch:3", "batch:4", "validation_end:0", "batch:12"))
    assert [text.count("continues from") for text in shown] == [0, 1, 1, 1, 1]


SMALL = {
    "vae": ("--model.net.encoder.layers", "[4]", "--model.net.decoder.layers", "[4, U]", "--data.batch_size", "16"),
    "gpt": ("--model.net.width", "8", "--model.net.dropout", "0.3"),
    "detection": (),
    "diabetes": (),
}


@pytest.mark.kills
@pytest.mark.parametrize("task", SMALL)
def test_other_tasks(interrupted: Callable[..., list[str]], task: str) -> None:
    config = str(CONFIGS / f"{task}.yaml")
    shown = interrupted(config, *SHORT, *SMALL[task], *STEPS, bombs=("batch:5", "epoch_start:2"))
    assert "continues from" in shown[-1]


SCHEDULERS = {
    "OneCycleLR": ("OneCycleLR", {"max_lr": 0.01}),
    "StepLR": ("StepLR", {"step_size": 1}),
    "CosineAnnealingLR": ("CosineAnnealingLR", {"T_max": 3}),
    "CosineAnnealingWarmRestarts": ("CosineAnnealingWarmRestarts", {"T_0": 2}),
    "ReduceLROnPlateau": ("ReduceLROnPlateau", {"patience": 0, "threshold": 10.0, "mode": "max"}),
    "ExponentialLR": ("ExponentialLR", {"gamma": 0.9}),
    "CyclicLR": ("CyclicLR", {"base_lr": 0.001, "max_lr": 0.01, "step_size_up": 3, "cycle_momentum": False}),
    "LinearLR": ("LinearLR", {"total_iters": 5}),
    "PolynomialLR": ("PolynomialLR", {"total_iters": 5}),
    "MultiStepLR": ("MultiStepLR", {"milestones": [1, 2]}),
    "ConstantLR": ("ConstantLR", {"total_iters": 2}),
}


@pytest.mark.kills
@pytest.mark.parametrize("bomb", ["batch:10", "epoch_start:2"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler(interrupted: Callable[..., list[str]], tmp_path: Path, name: str, bomb: str) -> None:
    kind, arguments = SCHEDULERS[name]
    scheduler = {"class_path": f"torch.optim.lr_scheduler.{kind}", "init_args": arguments}
    (tmp_path / "scheduler.yaml").write_text(yaml.safe_dump({"model": {"init_args": {"scheduler": scheduler}}}))
    shown = interrupted(DIGITS, "--config", "scheduler.yaml", *SHORT, *NET, *STEPS, bombs=(bomb,))
    assert "continues from" in shown[-1]


EMA = {"class_path": "lightning.pytorch.callbacks.EMAWeightAveraging", "init_args": {"decay": 0.9}}
STOP_EARLY = {
    "class_path": "lightning.pytorch.callbacks.EarlyStopping",
    "init_args": {"monitor": "val/loss", "patience": 1, "min_delta": 10.0},
}
SAMPLES = {"class_path": "torchmetrics.classification.MulticlassAUROC", "init_args": {"num_classes": 10}}  # keeps lists
NADAM = {"class_path": "torch.optim.NAdam", "init_args": {"lr": 0.01}}
CASES: dict[str, dict[str, Any]] = {
    "accumulation": {"trainer": {"accumulate_grad_batches": 3}},
    "validation within the epoch": {"trainer": {"val_check_interval": 2}},
    "validation after each batch": {"trainer": {"val_check_interval": 1}},
    "validation across epochs": {"trainer": {"val_check_interval": 5, "check_val_every_n_epoch": None}},
    "validation every second epoch": {"trainer": {"check_val_every_n_epoch": 2}},
    "averaged weights": {"callbacks": {"ema": EMA}},
    "averaged weights and accumulation": {
        "callbacks": {"ema": EMA},
        "trainer": {"accumulate_grad_batches": 2, "val_check_interval": 0.5},
    },
    "early stopping": {"callbacks": {"stop": STOP_EARLY}},
    "a number of steps": {"trainer": {"max_epochs": -1, "max_steps": 17}},
    "metrics that keep every sample": {"model": {"init_args": {"metrics": {"auroc": SAMPLES}}}},
    "a part of the epoch": {"trainer": {"limit_train_batches": 0.3}},
    "clipped gradients": {"trainer": {"gradient_clip_val": 0.5}},
    "another optimizer": {
        "model": {"init_args": {"optimizer": {"class_path": "torch.optim.NAdam", "init_args": {"lr": 0.01}}}}
    },
    "an optimizer that shows an average": {
        "model": {"init_args": {"optimizer": {"class_path": "trainworks.tests.strangers.Averaging"}, "scheduler": None}}
    },
    "bfloat16": {"trainer": {"precision": "bf16-mixed"}},
}


@pytest.mark.kills
@pytest.mark.parametrize("bomb", ["batch:3", "batch:10", "batch:12", "epoch_start:1"])
@pytest.mark.parametrize("case", CASES)
def test_it_holds_with(interrupted: Callable[..., list[str]], tmp_path: Path, case: str, bomb: str) -> None:
    (tmp_path / "case.yaml").write_text(yaml.safe_dump(CASES[case]))
    shown = interrupted(DIGITS, *SHORT, *NET, *STEPS, "--config", "case.yaml", bombs=(bomb,))
    assert "continues from" in shown[-1] or "no checkpoint yet" in shown[-1]  # within the first window


@pytest.mark.kills
def test_several_validation_sets(interrupted: Callable[..., list[str]]) -> None:
    words = ("--data", "trainworks.tests.models.test_sets.NoisyDigits", "--callbacks.best.monitor", "val/noisy/loss")
    shown = interrupted(DIGITS, *SHORT, *NET, *STEPS, *words, bombs=("batch:3", "validation_end:1", "batch:18"))
    assert "val/noisy/loss" in scalars(Path("logs/digits/cut"))
    assert [text.count("continues from") for text in shown] == [0, 1, 1, 1]


@pytest.mark.kills
@pytest.mark.parametrize("storage", ["files", "memory"])
def test_random_transforms_of_samples_and_batches(
    interrupted: Callable[..., list[str]], tmp_path: Path, storage: str
) -> None:
    """Also with another number of workers each time."""
    for name in "ab":
        write_images(tmp_path / "data" / name, 40, (30, 24))
    crop = {"class_path": "torchvision.transforms.v2.RandomResizedCrop", "init_args": {"size": 16}}
    mix = {"class_path": "torchvision.transforms.v2.MixUp", "init_args": {"num_classes": 2}}
    jitter = {"class_path": "torchvision.transforms.v2.ColorJitter", "init_args": {"brightness": 0.5}}
    each = {"class_path": "trainworks.datamodules.transforms.PerSample", "init_args": {"transforms": [jitter]}}
    data = {"train_transform+": [each, mix], "sample_transform": [crop] if storage == "files" else []}
    (tmp_path / "case.yaml").write_text(yaml.safe_dump({"data": {"init_args": data}}))
    words = ["--data.root", "data", "--data.image_size", "16", "--data.batch_size", "8", "--data.storage", storage]
    words += ["--model.net.layers", "[4, M, 8]", "--model.net.dropout", "0.3", "--callbacks.best.monitor", "val/loss"]
    words += ["--callbacks.best.mode", "min", "--trainer.max_epochs", "3", *STEPS, "--config", "case.yaml"]
    shown = interrupted(FOLDER, *words, bombs=("batch:5", "batch:14"), workers=["2", "1", "0"])
    assert "continues from" in shown[-1]


@pytest.mark.two_processes
def test_two_processes(train_process: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole-epoch metrics too, of which each process has summed up its own part."""
    two = ("--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp")
    command = ("--config", DIGITS, *SHORT, *NET, *STEPS, *two, BOMB, "--run_name")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert train_process(*command, "whole").code == 0
    monkeypatch.setenv("BOMB", "batch:12")
    assert train_process(*command, "cut").code == 1
    monkeypatch.delenv("BOMB")
    result = train_process(*command, "cut", "--resume", "auto")
    assert result.code == 0, result.err
    assert "step 10" in result.out
    compare(*(tmp_path / "logs" / "digits" / name for name in ("whole", "cut")))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_with_deterministic(interrupted: Callable[..., list[str]]) -> None:
    gpu = ("--trainer.accelerator", "gpu", "--trainer.devices", "1", "--trainer.deterministic", "true")
    shown = interrupted(DIGITS, *SHORT, *NET, *STEPS, *gpu, bombs=("batch:5", "batch:12"))
    assert "continues from" in shown[-1]
