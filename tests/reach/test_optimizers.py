"""Every optimizer of torch.optim trains through a configuration."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from torch import optim

from tests.conftest import Result
from tests.reach.problem import Record

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


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_lowers_the_loss(fit: Callable[..., Result], name: str) -> None:
    model: dict[str, Any] = {"optimizer": described(name)}
    if name in KINDS:
        parts = [{"kind": KINDS[name], "optimizer": described(name)}, REST]
        model["optimizer"] = {"class_path": "src.optim.OptimizerByName", "init_args": {"parts": parts}}
    sparse = name == "SparseAdam"
    net = {"net": "tests.reach.problem.WordNet"} if sparse else {}
    result = fit(model | net, **({"inputs": WORDS, "targets": WORDS[:, 0] % 3} if sparse else {}))
    assert (result.code, result.err) == (0, "")
    assert Record.losses[-1] < 0.9 * Record.losses[0]
    assert name in str(type(Record.trained["optimizer"])) + str(getattr(Record.trained["optimizer"], "optimizers", ""))
