"""Modules of one's own: what they may leave out, what they inherit, and that their checkpoints alone rebuild them."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.nn import functional as F

from trainworks.cli.config import apply_overrides, merge
from trainworks.errors import UsageError
from trainworks.models import BaseModule, load_model
from trainworks.tests.conftest import DIGITS, QUICK, ROOT, Train
from trainworks.tests.examples.classifier import ClassifierModule

OWN = """
import torch
from torch import nn
from lightning.pytorch import LightningModule
from trainworks.tests.examples.classifier import ClassifierModule


class Doubled(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(64, num_classes)

    def forward(self, images):
        return 2 * self.head(images.flatten(1))


class Distilled(ClassifierModule):
    def __init__(self, *, temperature: float = 2.0, **parts) -> None:
        super().__init__(**parts)
        self.temperature = temperature


class Plain(LightningModule):
    def __init__(self, net: nn.Module, width: int = 3) -> None:
        super().__init__()
        self.net, self.width = net, width

    def forward(self, images):
        return self.net(images)

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)
"""
LOAD = """
import sys, torch
from trainworks.models import load_model
module = load_model(sys.argv[1])
assert not module.training
found = {"out": module(torch.ones(2, 1, 8, 8)), "kind": type(module).__name__, "names": module.class_names}
torch.save(found, sys.argv[2])
"""


@pytest.fixture
def own(tmp_path: Path) -> dict[str, str]:
    """Write modules that nothing else imports; returns an environment in which they are found."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/own_task.py").write_text(OWN)
    return os.environ | {"PYTHONPATH": str(tmp_path / "modules")}


def run(*command: str, cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], cwd=cwd, env=env, capture_output=True, text=True, timeout=600)


@pytest.mark.long
def test_a_checkpoint_alone_rebuilds_a_module_that_nothing_imports(own: dict[str, str], tmp_path: Path) -> None:
    net = ("--model.net", "own_task.Doubled", "--model.net.num_classes", "10")
    trainings = {
        "Distilled": ("--model", "own_task.Distilled", "--model.temperature", "3", *net),
        "Plain": ("--model", "own_task.Plain", *net, "--model.width", "5"),
    }
    for kind, words in trainings.items():
        command = (str(ROOT / "train.py"), "fit", "--config", DIGITS, *QUICK, "--run_name", kind, *words)
        done = run(*command, cwd=tmp_path, env=own)
        assert done.returncode == 0, done.stderr
        path = tmp_path / f"logs/digits/{kind}/checkpoints/last.ckpt"
        loaded = run("-c", LOAD, str(path), str(tmp_path / "out.pt"), cwd=ROOT, env=own)
        assert loaded.returncode == 0, loaded.stderr
        found = torch.load(tmp_path / "out.pt", weights_only=True)
        assert (found["kind"], found["names"]) == (kind, [str(k) for k in range(10)])
        weights = torch.load(path, weights_only=True)["state_dict"]
        expected = 2 * F.linear(torch.ones(2, 64), weights["net.head.weight"], weights["net.head.bias"])
        assert torch.equal(found["out"], expected)
        message = f"needs own_task.{kind}, which cannot be imported (No module named 'own_task'); put the folder of its"
        with pytest.raises(ValueError, match=re.escape(message)):
            load_model(path)
    arguments = torch.load(tmp_path / "logs/digits/Plain/checkpoints/last.ckpt", weights_only=True)["module"]
    assert arguments["init_args"]["width"] == 5


@pytest.mark.parametrize("name", ["os.system", "subprocess.Popen", "torch.nn.Linear", "trainworks.models.load_model"])
def test_what_is_no_module_is_never_called(tmp_path: Path, name: str) -> None:
    torch.save({"module": {"class_path": name, "init_args": {}}, "state_dict": {}}, tmp_path / "x.ckpt")
    with pytest.raises(ValueError, match=rf"x.ckpt names {name}, which is no LightningModule; it was not called"):
        load_model(tmp_path / "x.ckpt")


class WithoutLoss(BaseModule):
    def step(self, batch: Any) -> tuple[Tensor, Tensor, Tensor]:
        logits = self.net(batch[0])
        return F.cross_entropy(logits, batch[1]), logits, batch[1]


class WithoutNet(BaseModule):
    def __init__(self, optimizer: Any = torch.optim.SGD) -> None:
        super().__init__(optimizer=lambda parameters: torch.optim.SGD(parameters, 0.1))
        self.head = nn.Linear(64, 10)

    def step(self, batch: Any) -> tuple[Tensor, Tensor, Tensor]:
        logits = self.head(batch[0].flatten(1))
        return F.cross_entropy(logits, batch[1]), logits, batch[1]


class OwnOptimizer(WithoutLoss):
    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


class Smoothed(ClassifierModule):
    def step(self, batch: Any) -> tuple[Tensor, Tensor, Tensor]:
        return super().step(batch)


def test_what_a_step_does_not_use_is_left_out(train: Train, tmp_path: Path) -> None:
    config = yaml.safe_load(Path(DIGITS).read_text())
    del config["model"]["init_args"]["loss"]
    config["model"]["class_path"] = "trainworks.tests.models.test_own_modules.WithoutLoss"
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(config))
    result = train("--config", "a.yaml", *QUICK[:4])
    assert (result.code, result.err) == (0, "")
    own_net = "trainworks.tests.models.test_own_modules.WithoutNet"
    result = train("--config", "a.yaml", *QUICK[:4], "--model", own_net)
    assert (result.code, result.err) == (0, "")
    assert "WithoutNet, 650 parameters" in result.out
    result = train(
        "--config", "a.yaml", *QUICK, "--model.class_path", "trainworks.tests.examples.classifier.ClassifierModule"
    )
    assert result.code == 2
    assert result.err == "error: model.net must be set, since ClassifierModule uses it; write a class_path\n"
    result = train("--config", "a.yaml", *QUICK, "--model.optimizer", "null", "--model.scheduler", "null")
    assert result.code == 2
    assert result.err == "error: model.optimizer must be set, since WithoutLoss uses it; write a class_path\n"


@pytest.mark.parametrize(
    ("kind", "parts", "missing"),
    [
        (WithoutLoss, {}, "net"),
        (WithoutLoss, {"net": nn.Linear(64, 10)}, None),
        (OwnOptimizer, {"net": nn.Linear(64, 10)}, None),
        (WithoutNet, {}, None),
        (Smoothed, {"net": nn.Linear(64, 10)}, "loss"),
        (ClassifierModule, {}, "net"),
        (ClassifierModule, {"net": nn.Linear(64, 10), "loss": nn.CrossEntropyLoss()}, None),
    ],
)
def test_a_part_that_a_step_uses_must_be_set(kind: Any, parts: dict[str, Any], missing: str | None) -> None:
    module, batch = kind(**parts), (torch.zeros(2, 64), torch.arange(2))
    assert {name for name in ("net", "loss") if hasattr(module, name)} == parts.keys()
    if missing is None:
        assert len(module.step(batch)) == 3
    else:
        message = f"model.{missing} must be set, since {kind.__name__} uses it; write a class_path"
        with pytest.raises(UsageError, match=re.escape(message)):
            module.step(batch)


def test_other_attributes_that_are_missing_are_said_by_their_name() -> None:
    with pytest.raises(AttributeError, match="'WithoutNet' object has no attribute 'nets'") as error:
        WithoutNet().nets  # noqa: B018
    assert not isinstance(error.value, UsageError)


def test_an_optimizer_must_be_set_unless_one_is_made() -> None:
    net = nn.Linear(64, 10)
    assert isinstance(OwnOptimizer(net=net).configure_optimizers(), torch.optim.SGD)
    message = "model.optimizer must be set, since WithoutLoss uses it; write a class_path"
    with pytest.raises(UsageError, match=message):
        WithoutLoss(net=net).configure_optimizers()


ADAM = {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.1, "eps": 1e-6}}
CLASSIFIER = {
    "class_path": "trainworks.tests.examples.classifier.ClassifierModule",
    "init_args": {"net": "a.Net", "train_metrics": False},
}
SWAPS = [
    (CLASSIFIER, "trainworks.tests.models.test_own_modules.Smoothed", {"net": "a.Net", "train_metrics": False}),
    (CLASSIFIER, "trainworks.tests.examples.classifier.ClassifierModule", {"net": "a.Net", "train_metrics": False}),
    (CLASSIFIER, "trainworks.tests.models.test_own_modules.WithoutNet", None),
    (CLASSIFIER, "trainworks.tests.examples.regressor.RegressorModule", None),
    (CLASSIFIER, "trainworks.models.BaseModule", None),
    (CLASSIFIER, "nowhere.Module", None),
    (ADAM, "torch.optim.AdamW", {"lr": 0.1, "eps": 1e-6}),
    (ADAM, "torch.optim.SGD", None),
    (
        {
            "class_path": "trainworks.tests.models.test_own_modules.WithoutLoss",
            "init_args": {"net": "a.Net", "layer_decay": 0.5},
        },
        "trainworks.tests.models.test_own_modules.OwnOptimizer",
        {"net": "a.Net", "layer_decay": 0.5},
    ),
]


@pytest.mark.parametrize(("before", "path", "kept"), SWAPS)
def test_a_class_that_derives_from_the_one_before_keeps_its_arguments(
    before: dict[str, Any], path: str, kept: dict[str, Any] | None
) -> None:
    expected = {"class_path": path} | ({} if kept is None else {"init_args": kept})
    for key in ("model", "model.class_path"):
        assert apply_overrides({"model": before}, [(key, path)])["model"] == expected
    assert merge({"model": before}, {"model": {"class_path": path}})["model"] == expected


class Narrow(WithoutLoss):
    def __init__(self, net: nn.Module, optimizer: Any) -> None:
        super().__init__(net=net, optimizer=optimizer)


def test_a_narrower_class_keeps_what_it_takes() -> None:
    before = {
        "class_path": "trainworks.tests.models.test_own_modules.WithoutLoss",
        "init_args": {"net": "a.Net", "layer_decay": 1},
    }
    after = apply_overrides({"model": before}, [("model", "trainworks.tests.models.test_own_modules.Narrow")])
    assert after["model"]["init_args"] == {"net": "a.Net"}


DEFAULTS = {
    "--model.optimizer torch.optim.Adam": 0.001,
    "--model.optimizer torch.optim.Adam --model.optimizer.lr 0.5": 0.5,
}


@pytest.mark.parametrize("words", DEFAULTS)
def test_a_reference_takes_the_default_of_a_signature(train: Train, words: str) -> None:
    result = train("--config", DIGITS, *words.split(), "--print_config")
    assert result.code == 0, result.err
    arguments = yaml.safe_load(result.out)["model"]["init_args"]
    assert float(arguments["scheduler"]["init_args"]["max_lr"]) == DEFAULTS[words]
    assert float(arguments["optimizer"]["init_args"]["lr"]) == DEFAULTS[words]


def test_a_reference_to_nothing_is_still_named(train: Train) -> None:
    result = train(
        "--config", DIGITS, "--model.optimizer", "torch.optim.LBFGS", "--model.scheduler.max_lr", "${model.x.y}"
    )
    assert (result.code, bool(re.search("refers to model.x.y, which is not set", result.err))) == (2, True)
