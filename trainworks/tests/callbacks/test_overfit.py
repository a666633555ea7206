import json
from pathlib import Path
from typing import Any

import pytest
import torch

from trainworks.callbacks import Overfit
from trainworks.callbacks.overfit import verdict
from trainworks.tests.conftest import CONFIGS, Train, write_images

OVERFIT = ("--config", str(CONFIGS / "overlays/overfit.yaml"))


def config(name: str) -> tuple[str, ...]:
    return ("--config", str(CONFIGS / f"{name}.yaml"), *OVERFIT)


def test_a_network_that_learns_comes_near_zero(train: Train) -> None:
    result = train(*config("digits"), "--callbacks.overfit.num_steps", "80")
    assert (result.code, result.err) == (0, "")
    assert "the loss of one batch fell from 2.3" in result.out
    assert "in 80 steps, near zero: the network can learn" in result.out
    assert "test/" not in result.out
    (run,) = Path("logs/digits").iterdir()
    assert {path.name for path in run.iterdir()} <= {
        *("config.yaml", "run.json", "train.log", ".lock"),
        *("metrics.csv", "README.md"),
    }
    assert json.loads((run / "run.json").read_text())["metrics"]["train/accuracy"] > 0.8


def test_a_network_that_cannot_learn_is_named(train: Train) -> None:
    result = train(*config("digits"), "--callbacks.overfit.num_steps", "20", "--model.optimizer.lr", "1e-9")
    assert result.code == 0, result.err
    assert "the loss of one batch stayed high, from 2.3" in result.out


SMALL = {
    "vae": (),
    "gpt": ("--model.net.width", "16", "--data.batch_size", "2"),
    "segmentation": ("--data.batch_size", "2", "--model.net.widths", "[4, 8]"),
    "detection": ("--data.batch_size", "2",),
    "diabetes": (),
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("name", SMALL)
def test_every_kind_of_task(train: Train, name: str) -> None:
    result = train(*config(name), *SMALL[name], "--callbacks.overfit.num_steps", "12")
    assert (result.code, result.err) == (0, "")
    assert "in 12 steps" in result.out


def test_images_read_by_workers(train: Train, tmp_path: Path) -> None:
    for name in "ab":
        write_images(tmp_path / "data" / name, 20)
    words = ("--data.root", "data", "--data.image_size", "16", "--data.batch_size", "8", "--data.storage", "files")
    result = train(*config("image_folder"), *words, "--data.num_workers", "1", "--callbacks.overfit.num_steps", "5")
    assert (result.code, result.err) == (0, "")
    assert "in 5 steps" in result.out


def test_every_step_gets_the_same_values(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the shifts of the training, and with transforms that work in place."""
    seen = []
    keep = Overfit.on_train_batch_end

    def look(self: Overfit, *words: Any) -> None:
        seen.append([part.clone() for part in words[3]])
        keep(self, *words)

    monkeypatch.setattr(Overfit, "on_train_batch_end", look)
    assert train(*config("digits"), "--callbacks.overfit.num_steps", "4").code == 0
    assert len(seen) == 4
    assert all(torch.equal(one, other) for batch in seen for one, other in zip(batch, seen[0], strict=True))


def test_what_the_losses_tell() -> None:
    assert "near zero" in verdict([2.3] + [0.01] * 20)
    assert "zero is far" in verdict([180.0] + [70.0] * 20)
    assert "stayed high, from 2.3 to 2.2" in verdict([2.3] + [2.2] * 20)
    with pytest.raises(ValueError, match="num_steps must be at least 1, got 0"):
        Overfit(0)
