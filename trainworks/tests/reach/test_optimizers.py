"""Every optimizer of torch.optim trains through a configuration."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import LightningModule
from torch import optim
from torch.nn.utils import parameters_to_vector

from trainworks.cli.parser import Parser
from trainworks.tests.conftest import Result
from trainworks.tests.reach.problem import Record

pytestmark = pytest.mark.reach

OPTIMIZERS = sorted(
    name for name, kind in vars(optim).items() if isinstance(kind, type) and issubclass(kind, optim.Optimizer)
)
OPTIMIZERS.remove("Optimizer")  # their base
ARGUMENTS: dict[str, dict[str, Any]] = {  # where the defaults are too slow for a dozen steps, or do not work at all
    "ASGD": {"lr": 0.1},
    "Adadelta": {"lr": 10.0},
    "Adagrad": {"lr": 0.05},
    "LBFGS": {"line_search_fn": "strong_wolfe"},
    "RAdam": {"lr": 0.05},
    "RMSprop": {"lr": 0.01},
    "SGD": {"lr": 0.1},
    "SparseAdam": {"lr": 0.05},
}
KINDS = {"Muon": "matrix", "SparseAdam": "sparse"}  # these take only such parameters
WORDS = np.arange(48 * 4).reshape(48, 4) % 20
REST = {"optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}}}


def described(name: str) -> dict[str, Any]:
    return {"class_path": f"torch.optim.{name}", "init_args": ARGUMENTS.get(name, {"lr": 0.01})}


def reads_back(text: str) -> bool:
    parser = Parser()
    parser.add_subclass_arguments(LightningModule, "model")
    model = {"model": yaml.safe_load(text)["model"]}
    again: str = parser.dump(parser.parse_object(model), skip_none=False)
    return bool(yaml.safe_load(again) == model)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_lowers_the_loss(fit: Callable[..., Result], name: str) -> None:
    model: dict[str, Any] = {"optimizer": described(name)}
    if name in KINDS:
        parts = [{"kind": KINDS[name], "optimizer": described(name)}, REST]
        model["optimizer"] = {"class_path": "trainworks.optim.OptimizerByName", "init_args": {"parts": parts}}
    sparse = name == "SparseAdam"
    net = {"net": "trainworks.tests.reach.problem.WordNet"} if sparse else {}
    result = fit(model | net, **({"inputs": WORDS, "targets": WORDS[:, 0] % 3} if sparse else {}))
    assert (result.code, result.err) == (0, "")
    assert Record.losses[-1] < 0.9 * Record.losses[0]
    (saved,) = Path("logs").glob("*/*/config.yaml")
    assert reads_back(saved.read_text())
    assert name in str(type(Record.trained["optimizer"])) + str(getattr(Record.trained["optimizer"], "optimizers", ""))


def test_accumulated_batches_act_as_one(fit: Callable[..., Result]) -> None:
    weights = []
    for words in ((), ("--data.batch_size", "12", "--trainer.accumulate_grad_batches", "4")):
        assert fit({}, *words).err == ""
        assert Record.trained["trainer"].global_step == 12
        weights.append(parameters_to_vector(Record.trained["module"].parameters()).detach())
    torch.testing.assert_close(*weights)


SWAPS: dict[str, tuple[str, dict[str, Any], str]] = {
    "optimizer": ("torch.optim.SGD", {"lr": 0.3, "weight_decay": 0.5}, "torch.optim.AdamW"),
    "scheduler": ("torch.optim.lr_scheduler.StepLR", {"gamma": 0.7}, "torch.optim.lr_scheduler.ExponentialLR"),
    "net": ("torchvision.models.resnet18", {"num_classes": 5}, "torchvision.models.resnet34"),
    "loss": ("torch.nn.MultiMarginLoss", {"reduction": "sum"}, "torch.nn.L1Loss"),
}


@pytest.mark.parametrize("key", SWAPS)
def test_a_swapped_class_starts_clean(fit: Callable[..., Result], key: str) -> None:
    """Typed or from a second file: what both classes take is not handed over."""
    path, arguments, after = SWAPS[key]
    before = {"class_path": path, "init_args": arguments}
    needed = {"gamma": 0.5} if key == "scheduler" else {}
    words = [word for name, value in needed.items() for word in (f"--model.{key}.{name}", str(value))]
    typed = fit({key: before}, f"--model.{key}", after, *words, "--print_config")
    Path("swap.yaml").write_text(
        yaml.safe_dump({"model": {"init_args": {key: {"class_path": after, "init_args": needed}}}})
    )
    filed = fit({key: before}, "--config", "swap.yaml", "--print_config")
    assert typed.out == filed.out
    chosen = yaml.safe_load(typed.out)["model"]["init_args"][key]
    assert chosen["class_path"] == after
    assert not chosen["init_args"].items() & arguments.items()
