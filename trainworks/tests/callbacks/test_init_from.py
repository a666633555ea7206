"""Fine-tuning through the real entry point."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from torchvision.models import get_weight, squeezenet1_1

from trainworks.callbacks import InitFrom
from trainworks.models import load_model
from trainworks.tests.bomb import Bomb
from trainworks.tests.conftest import DIGITS, QUICK, Train

START = ("--callbacks.init_from", "trainworks.callbacks.InitFrom", "--callbacks.init_from.path", "first.ckpt")
STILL = ("--model.scheduler", "null", "--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", "0")
SMALL = ("--model.net.layers", "[4, M, 8]")
BOMB = f"--callbacks.bomb={Bomb.__module__}.Bomb"


def weights(run: str, name: str = "last") -> dict[str, torch.Tensor]:
    checkpoint = torch.load(f"logs/digits/{run}/checkpoints/{name}.ckpt", weights_only=True)
    return dict(checkpoint["state_dict"])


@pytest.fixture
def first(train: Train) -> dict[str, torch.Tensor]:
    """Train a network for 12 classes, and keep its last state as first.ckpt."""
    assert train("--config", DIGITS, *QUICK, *SMALL, "--model.net.num_classes", "12", "--run_name", "first").code == 0
    found = weights("first")
    Path("logs/digits/first/checkpoints/last.ckpt").rename("first.ckpt")
    return found


def test_another_run_begins_with_its_weights(train: Train, first: dict[str, torch.Tensor]) -> None:
    result = train("--config", DIGITS, *QUICK, *SMALL, *START, *STILL, "--run_name", "second")
    assert result.code == 0, result.err
    report = (
        "weights: 12 of 14 tensors of SmallCNN from first.ckpt, without 'net.'\n"
        "  2 left new, of another shape: head.weight 12x8 -> 10x8, head.bias 12 -> 10\n"
    )
    assert result.out.count(report) == 1
    assert report in Path("logs/digits/second/train.log").read_text()
    found = weights("second")
    for name in ("net.features.0.weight", "net.features.2.bias", "net.features.4.weight"):
        assert torch.equal(found[name], first[name])
    assert found["net.head.weight"].shape == (10, 8)


def test_without_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And for a module that has no net; the second time nothing is left to do."""
    source, module = BoringModel(), BoringModel()
    torch.save(source.state_dict(), tmp_path / "first.pt")
    start, trainer = InitFrom(str(tmp_path / "first.pt")), Trainer(accelerator="cpu", logger=False)
    start.setup(trainer, module, "test")
    assert not torch.equal(module.layer.weight, source.layer.weight)
    start.setup(trainer, module, "fit")
    assert torch.equal(module.layer.weight, source.layer.weight)
    assert capsys.readouterr().out.count("weights: 2 of 2 tensors of BoringModel from ") == 1
    start.setup(trainer, module, "fit")
    assert capsys.readouterr().out == ""


@pytest.mark.kills
def test_a_run_that_continues_never_asks_for_the_file(
    train: Train, first: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (
        "--config",
        DIGITS,
        *SMALL,
        *START,
        "--trainer.max_epochs",
        "2",
        "--trainer.limit_train_batches",
        "3",
        BOMB,
    )
    assert train(*command, "--run_name", "whole").code == 0
    monkeypatch.setenv("BOMB", "batch:4")
    assert train(*command, "--run_name", "cut").code == 1
    monkeypatch.delenv("BOMB")
    Path("first.ckpt").rename("gone.ckpt")
    refused = train("--resume", "logs/digits/cut", "--callbacks.init_from.path", "gone.ckpt")
    assert refused.code == 2
    assert "callbacks.init_from.init_args.path: first.ckpt -> gone.ckpt" in refused.err
    assert (
        "cannot continue with other settings"
        in train("--resume", "logs/digits/cut", "--callbacks.init_from", "null").err
    )
    result = train("--resume", "logs/digits/cut")
    assert result.code == 0, result.err
    assert "continues from" in result.out and "weights:" not in result.out
    one, other = weights("whole"), weights("cut")
    assert all(torch.equal(one[name], other[name]) for name in one)
    best = weights("cut", "best")
    model = load_model("logs/digits/cut/checkpoints/best.ckpt")
    assert all(torch.equal(value, best[name]) for name, value in model.state_dict().items())
    assert train("test", "--config", DIGITS, "--run_name", "cut").code == 0


def test_without_a_checkpoint_it_begins_with_the_file_again(
    train: Train, first: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOMB", "batch:1")
    assert train("--config", DIGITS, *QUICK, *SMALL, *START, BOMB, "--run_name", "a").code == 1
    monkeypatch.delenv("BOMB")
    result = train("--resume", "logs/digits/a")
    assert (result.code, result.out.count("weights: 12 of 14")) == (0, 1)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("first.ckp", r"first.ckp: no such file \(did you mean first.ckpt\?\)"),
        ("text.pt", r"text.pt: truncated, damaged or no file of weights"),
        ("other.pt", r"other.pt: none of its 1 tensors fits SmallCNN; the file has a 2; the network has features.0"),
        ("Nope_Weights.DEFAULT", r"torchvision has no weights 'Nope_Weights.DEFAULT'"),
    ],
)
def test_a_wrong_file_is_found_before_there_is_a_run(train: Train, tmp_path: Path, path: str, message: str) -> None:
    (tmp_path / "first.ckpt").touch()
    (tmp_path / "text.pt").write_text("hello")
    torch.save({"a": torch.ones(2)}, tmp_path / "other.pt")
    result = train("--config", DIGITS, *START[:-1], path)
    assert result.code == 2
    assert re.search(message, result.err), result.err
    assert len(result.err.splitlines()) <= 3
    assert not Path("logs").exists()


def test_torchvisions_weights_argument(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`weights: DEFAULT` of a network, with a file where torchvision keeps what it downloads."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = tmp_path / "hub/checkpoints" / Path(get_weight("SqueezeNet1_1_Weights.DEFAULT").url).name
    file.parent.mkdir(parents=True)
    torch.manual_seed(3)
    source = squeezenet1_1()
    torch.save(source.state_dict(), file)
    colour = [{"class_path": "torchvision.transforms.v2.RGB"}, {"class_path": "torchvision.transforms.v2.Resize"}]
    colour[1]["init_args"] = {"size": 32}  # type: ignore[assignment]
    shape: Any = {"train_transform+": colour, "eval_transform+": colour}
    (tmp_path / "shape.yaml").write_text(
        yaml.safe_dump({"data": {"init_args": shape}, "model": {"init_args": {"metrics": None}}})
    )
    net = ("--model.net", "torchvision.models.squeezenet1_1", "--model.net.weights", "DEFAULT")
    result = train("--config", DIGITS, "--config", "shape.yaml", *net, *QUICK, *STILL, "--run_name", "a")
    assert result.code == 0, result.err
    found = weights("a")
    assert all(torch.equal(found[f"net.{name}"], value) for name, value in source.state_dict().items())
    assert json.loads(Path("logs/digits/a/run.json").read_text())["exit_status"] == 0
