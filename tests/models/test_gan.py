import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance

from src.datamodules.digits import DigitsDataModule
from trainworks.models import load_model
from trainworks.testing import ROOT, Train

CONFIG = str(ROOT / "configs/gan.yaml")
LOGS = f"logs/{Path(CONFIG).stem}"
SMALL = ("--model.generator.layers", "[8, U, 8]", "--model.discriminator.layers", "[8, M, 8]")


def distance(real: Any, made: Any) -> float:
    metric = FrechetInceptionDistance(feature=nn.Flatten(), input_img_size=(1, 8, 8))
    metric.update(real, real=True)
    metric.update(made, real=False)
    return float(metric.compute())


@pytest.mark.long
def test_it_learns_more_than_each_pixel_by_itself(train: Train) -> None:
    words = ("--trainer.max_epochs", "12", "--run_name", "a", "--callbacks.samples.every_n_epochs", "6")
    result = train("--config", CONFIG, *words)
    assert (result.code, result.err) == (0, "")
    data = DigitsDataModule()
    data.load()
    real, test = (data.splits[name].inputs.float() / 127.5 - 1 for name in ("train", "test"))  # type: ignore[attr-defined]
    mixed = torch.stack([pixel[torch.randperm(len(real))[: len(test)]] for pixel in real.flatten(1).T], dim=1)
    reached = float(re.findall(r"^test/frechet_distance +(\S+)", result.out, re.MULTILINE)[0])
    assert distance(test, real[: len(test)]) < reached < distance(test, mixed.reshape(test.shape))

    events = EventAccumulator(f"{LOGS}/a").Reload()
    assert [image.step for image in events.Images("generated/val")] == [119, 239]
    assert "reconstructed/val" not in events.Tags()["images"]
    expected = {"train/generator_loss", "train/discriminator_loss", "best/val/frechet_distance"}
    assert expected <= {*events.Tags()["scalars"]}

    module: Any = load_model(f"{LOGS}/a/checkpoints/best.ckpt")
    before = torch.get_rng_state()
    images = module.sample(300, torch.Generator().manual_seed(1))
    assert torch.equal(before, torch.get_rng_state())
    assert (images.shape, bool((images >= 0).all()), bool((images <= 1).all())) == ((300, 1, 8, 8), True, True)
    assert distance(test, images * 2 - 1) == pytest.approx(reached, rel=0.5)


@pytest.mark.kills
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_stopped_in_the_middle_it_ends_as_if_nothing_had_happened(
    train: Train, tmp_path: Path, how: signal.Signals
) -> None:
    """A real process is stopped within an epoch; both networks and both optimizers come out the same."""
    words = ["fit", "--config", CONFIG, *SMALL, "--trainer.max_epochs", "4"]
    words += ["--callbacks.last.every_n_steps", "2", "--callbacks.progress.line_seconds", "0.01", "--run_name"]
    whole = train(*words, "whole")
    assert whole.code == 0, whole.err
    command = [sys.executable, str(ROOT / "train.py"), *words, "killed"]
    log, killed = tmp_path / f"{LOGS}/killed/train.log", False
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
        for _ in range(6000):
            if log.exists() and re.search(r"epoch 2/4  batch (?:[5-9]|1\d)/20", log.read_text()):
                process.send_signal(how)
                killed = True
                break
            time.sleep(0.01)
    assert killed and process.returncode == (-how if how == signal.SIGKILL else 128 + how)
    resumed = train("--resume", f"{LOGS}/killed")
    assert resumed.code == 0, resumed.err
    step = int(re.findall(r"last.ckpt, step (\d+)", resumed.out)[0])
    assert 20 < step < 60 and step % 20
    ends = [torch.load(f"{LOGS}/{name}/checkpoints/last.ckpt", weights_only=True) for name in ("whole", "killed")]
    assert len(ends[0]["optimizer_states"]) == 2
    for part in ("state_dict", "optimizer_states", "global_step", "epoch"):
        torch.testing.assert_close(ends[0][part], ends[1][part], rtol=0, atol=0)
