"""First values and parametrizations of weights, by name from a configuration."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trainworks.models import load_model
from trainworks.models.changes import Init, initialized, parametrized
from trainworks.tests.conftest import Result
from trainworks.tests.reach.problem import Net, Record
from trainworks.tests.reach.test_averages import AVERAGE, BEST

pytestmark = pytest.mark.reach

FUNCTIONS = sorted(name for name in vars(nn.init) if name.endswith("_") and not name.startswith("_"))
ARGUMENTS = {"constant_": {"val": 0.5}, "sparse_": {"sparsity": 0.5}}
LAYERS = {"dirac_": "Conv2d", "eye_": "Linear", "sparse_": "Linear", "orthogonal_": "Linear"}
STILL = ("--model.optimizer.lr", "0", "--trainer.max_epochs", "1")


class TwoLayers(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(16, 3))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_of_torch_fills_weights(name: str) -> None:
    function = getattr(nn.init, name)
    arguments = ARGUMENTS.get(name, {})
    torch.manual_seed(0)
    before = TwoLayers()
    layer = LAYERS.get(name, "Conv2d|Linear")
    torch.manual_seed(0)
    net = initialized(TwoLayers(), [Init(function, arguments, layer=layer)])
    for index in (0, 2):
        changed = not torch.equal(net[index].weight, before[index].weight)  # type: ignore[index]
        assert changed == (type(before[index]).__name__ in layer)
        assert torch.equal(net[index].bias, before[index].bias)  # type: ignore[index]
    torch.manual_seed(0)
    expected = [function(part.weight, **arguments) for part in TwoLayers() if type(part).__name__ in layer.split("|")]
    filled = [part.weight for part in net if type(part).__name__ in layer.split("|")]  # type: ignore[attr-defined]
    assert all(torch.equal(one, other) for one, other in zip(filled, expected, strict=True))


def net_with(path: str, **arguments: Any) -> dict[str, Any]:
    init_args = {"net": "trainworks.tests.reach.problem.Net", **arguments}
    return {"net": {"class_path": f"trainworks.models.changes.{path}", "init_args": init_args}}


def test_rules_act_in_order_from_a_configuration(fit: Callable[..., Result]) -> None:
    rules = [
        {"function": "torch.nn.init.constant_", "arguments": {"val": 0.25}, "layer": "Linear"},
        {"function": "torch.nn.init.ones_", "pattern": "bias$"},
        {"function": "torch.nn.init.zeros_", "pattern": "^head"},
    ]
    assert fit(net_with("initialized", rules=rules), *STILL).err == ""
    net = Record.trained["module"].net
    assert net.hidden.weight.unique().tolist() == [0.25]
    assert net.hidden.bias.unique().tolist() == net.norm.bias.unique().tolist() == [1.0]
    assert [p.unique().tolist() for p in net.head.parameters()] == [[0.0], [0.0]]
    assert list(net.state_dict()) == list(Net().state_dict())


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"function": "torch.nn.init.zeros_", "pattern": "nope"}, "rules.0: no parameter has pattern 'nope' and layer"),
        ({"function": "torch.nn.init.xavier_normal_"}, r"rules.0 cannot fill norm.weight of shape \(8,\): Fan in"),
        ({"function": "torch.nn.init.zeros_", "arguments": {"a": 1}}, "cannot fill hidden.weight .* keyword argument"),
        ({"function": "torch.nn.init.zero_"}, r"there is no torch.nn.init.zero_ \(did you mean zeros_\?\)"),
    ],
)
def test_rules_that_cannot_be(fit: Callable[..., Result], rule: dict[str, Any], message: str) -> None:
    result = fit(net_with("initialized", rules=[rule]))
    assert result.code == 2
    assert re.search(message, result.err), result.err


@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm", "orthogonal"])
def test_a_parametrized_network_trains_and_is_rebuilt(fit: Callable[..., Result], name: str) -> None:
    net = net_with("parametrized", function=f"torch.nn.utils.parametrizations.{name}", layer="Linear", pattern="hidden")
    assert fit(net, *BEST, *AVERAGE, "--trainer.limit_val_batches", "2").err == ""
    assert Record.losses[-1] < Record.losses[0]
    hidden = Record.trained["module"].eval().net.hidden
    assert nn.utils.parametrize.is_parametrized(hidden, "weight")
    assert not nn.utils.parametrize.is_parametrized(Record.trained["module"].net.head)
    if name == "spectral_norm":
        assert torch.linalg.matrix_norm(hidden.weight.detach(), 2) == pytest.approx(1, abs=0.1)
    (path,) = Path("logs").glob("*/*/checkpoints/best.ckpt")
    inputs = torch.rand(5, 6)
    torch.testing.assert_close(load_model(path)(inputs), Record.trained["module"](inputs))


def test_layers_that_cannot_be_parametrized() -> None:
    with pytest.raises(ValueError, match="no layer has pattern 'nope' and class"):
        parametrized(Net(), nn.utils.parametrizations.weight_norm, pattern="nope")
    with pytest.raises(ValueError, match="norm cannot be changed: Expected a matrix"):
        parametrized(Net(), nn.utils.parametrizations.orthogonal, layer="LayerNorm")
