"""How parameters are shared among optimizers and learning rates."""

import copy
import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torchvision
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

from trainworks.optim import OptimizerByName, OptimizerPart, WarmupCosine, build_optimizer, build_scheduler
from trainworks.tests.conftest import Result
from trainworks.tests.reach.problem import Net, Record, WordNet

pytestmark = pytest.mark.reach

SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
ADAMW = partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1)
PARTS = [OptimizerPart(torch.optim.SparseAdam, kind="sparse"), OptimizerPart(SGD, "head"), OptimizerPart(ADAMW)]


def names(net: nn.Module, optimizer: torch.optim.Optimizer) -> list[set[str]]:
    known = {id(parameter): name for name, parameter in net.named_parameters()}
    return [{known[id(parameter)] for parameter in group["params"]} for group in optimizer.param_groups]


def build(net: nn.Module, parts: list[OptimizerPart], **arguments: Any) -> OptimizerByName:
    optimizer = build_optimizer(partial(OptimizerByName, parts=parts), net, **arguments)
    assert isinstance(optimizer, OptimizerByName)
    return optimizer


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> float:
    words = torch.arange(12).reshape(6, 2)
    for _ in range(steps):

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss: torch.Tensor = nn.functional.cross_entropy(net(words), torch.arange(6) % 3)
            loss.backward()
            return loss

        loss = optimizer.step(closure)
    return float(loss.detach())


def make(seed: int = 0) -> WordNet:
    torch.manual_seed(seed)
    return WordNet()


def test_each_parameter_goes_to_the_first_part_that_fits() -> None:
    net = make()
    optimizer = build(net, PARTS)
    head = {"top.head.weight", "top.head.bias"}
    rest = {"top.hidden.bias", "top.norm.weight", "top.norm.bias"}
    assert names(net, optimizer) == [{"words.weight"}, head, {"top.hidden.weight"}, rest]
    assert [type(part).__name__ for part in optimizer.optimizers] == ["SparseAdam", "SGD", "AdamW"]
    assert [group.get("weight_decay") for group in optimizer.param_groups] == [None, 0, 0.1, 0.0]


@pytest.mark.parametrize(("kind", "taken"), [("matrix", "top.hidden.weight"), ("embedding", "words.weight")])
def test_kinds(kind: Any, taken: str) -> None:
    net = make()
    net.words.sparse = False
    optimizer = build(net, [OptimizerPart(SGD, "words|hidden", kind=kind), OptimizerPart(SGD)])
    assert names(net, optimizer)[0] == {taken}


def test_one_step_is_that_of_each_optimizer_alone() -> None:
    together, apart = make(), make()
    optimizer = build(together, PARTS)
    alone = [
        torch.optim.SparseAdam([apart.words.weight]),
        SGD(apart.top.head.parameters(), fused=True),
        ADAMW([apart.top.hidden.weight], fused=True),
        torch.optim.AdamW([apart.top.hidden.bias, *apart.top.norm.parameters()], lr=0.01, weight_decay=0.0, fused=True),
    ]
    words = torch.arange(12).reshape(6, 2)
    for _ in range(3):
        train(together, optimizer, 1)
        apart.zero_grad()
        nn.functional.cross_entropy(apart(words), torch.arange(6) % 3).backward()
        for part in alone:
            part.step()
    for (name, one), other in zip(together.named_parameters(), apart.parameters(), strict=True):
        assert torch.equal(one, other), name


def test_state_of_several_optimizers_is_kept() -> None:
    net = make()
    optimizer = build(net, PARTS)
    train(net, optimizer, 3)
    weights = {name: value.clone() for name, value in net.state_dict().items()}
    state = copy.deepcopy(optimizer.state_dict())
    expected = train(net, optimizer, 3)
    other = make(seed=1)
    other.load_state_dict(weights)
    second = build(other, PARTS)
    second.load_state_dict(state)
    assert train(other, second, 3) == expected
    assert {len(part.state) for part in second.optimizers} == {len(second.state)}


def test_a_gradient_scaler_sees_one_optimizer() -> None:
    """Scaled gradients give the same step; one that is not finite is left out by all parts."""
    plain, scaled = make(), make()
    parts = PARTS[1:]
    plain.words.sparse = scaled.words.sparse = False
    optimizers = [build(net, parts) for net in (plain, scaled)]
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    train(plain, optimizers[0], 1)
    for factor in (1.0, math.inf):
        optimizers[1].zero_grad()
        loss = nn.functional.cross_entropy(scaled(torch.arange(12).reshape(6, 2)), torch.arange(6) % 3)
        scaler.scale(loss * factor).backward()
        scaler.step(optimizers[1])
        scaler.update()
        for one, other in zip(plain.parameters(), scaled.parameters(), strict=True):
            torch.testing.assert_close(one, other)
    assert scaler.get_scale() == 128


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([OptimizerPart(SGD, "top")], "no part takes words.weight; add a last part"),
        ([OptimizerPart(SGD), OptimizerPart(SGD, "top")], "parts.1 takes no parameter: none that is left has"),
        ([OptimizerPart(partial(torch.optim.LBFGS, line_search_fn="strong_wolfe"))], "LBFGS computes the loss"),
        (
            [OptimizerPart(torch.optim.Muon)],
            "Muon only supports 2D .* give it those of kind matrix in trainworks.optim.Opt",
        ),
        ([OptimizerPart(torch.optim.SparseAdam)], "SparseAdam trains only embeddings with sparse: true"),
    ],
)  # fmt: skip
def test_parts_that_cannot_be(parts: list[OptimizerPart], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(make(), parts)


def test_a_pattern_is_checked_and_nothing_is_added_later() -> None:
    with pytest.raises(ValueError, match=r"pattern must be a regular expression, got 'h\(d'"):
        OptimizerPart(SGD, "h(d")
    with pytest.raises(ValueError, match="takes no further parameters"):
        build(make(), PARTS).add_param_group({"params": [nn.Parameter(torch.zeros(1))]})


@pytest.mark.parametrize(
    ("optimizer", "words", "message"),
    [
        ("torch.optim.Muon", (), "Muon only supports 2D .* give it those of kind matrix"),
        ("torch.optim.SparseAdam", (), "SparseAdam trains only embeddings with sparse: true"),
        ("torch.optim.LBFGS", (), "got line_search_fn None and lr 1.0; write line_search_fn: strong_wolfe"),
        ("torch.optim.LBFGS", ("--model.optimizer.line_search_fn", "weak"), "got line_search_fn weak and lr 1.0"),
        ("torch.optim.LBFGS", ("--model.optimizer.lr", "0.1", "--model.layer_decay", "0.5"), "model.layer_decay at 1"),
        ("torch.optim.LBFGS", ("--model.optimizer.lr", "0.1", "--trainer.accumulate_grad_batches", "2"), "to 1"),
        ("trainworks.optim.OptimizerByName", (), r"model.init_args.optimizer: [\w.]+\.OptimizerByName needs parts"),
        ("torch.optim.SGD", ("--model.layer_decay", "0"), r"model.layer_decay must be in \(0, 1\], got 0"),
    ],
)  # fmt: skip
def test_what_an_optimizer_cannot_do(
    fit: Callable[..., Result], optimizer: str, words: tuple[str, ...], message: str
) -> None:
    result = fit({"optimizer": {"class_path": optimizer}}, *words)
    assert result.code == 2
    assert len(result.err.splitlines()) == 1
    assert re.search(message, result.err), result.err


def test_clipping_and_scheduler_reach_all_optimizers(fit: Callable[..., Result]) -> None:
    parts = [
        {"pattern": "head", "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 1.0}}},
        {"optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}},
    ]
    optimizer = {"class_path": "trainworks.optim.OptimizerByName", "init_args": {"parts": parts}}
    scheduler = {"class_path": "torch.optim.lr_scheduler.ExponentialLR", "init_args": {"gamma": 0.5}}
    clip = ("--trainer.gradient_clip_val", "0.001", "--trainer.max_epochs", "2")
    assert fit({"optimizer": optimizer, "scheduler": scheduler}, *clip).code == 0
    assert Record.rates == [[1.0, 0.1], [0.5, 0.05]]
    gradients = [parameter.grad for parameter in Record.trained["module"].parameters()]
    assert torch.nn.utils.get_total_norm(gradients) == pytest.approx(0.001, rel=1e-3)


def scales(net: nn.Module, decay: float) -> dict[str, float]:
    optimizer = build_optimizer(partial(torch.optim.SGD, lr=1.0), net, layer_decay=decay)
    groups = zip(names(net, optimizer), optimizer.param_groups, strict=True)
    return {name: group["lr"] for members, group in groups for name in members}


def test_learning_rates_fall_by_layer() -> None:
    rates = {"hidden": 0.25, "norm": 0.5, "head": 1.0}
    assert scales(Net(), 0.5) == {f"{name}.{kind}": rates[name] for name in rates for kind in ("weight", "bias")}


def test_layers_of_a_residual_network_are_its_blocks() -> None:
    rates = scales(torchvision.models.resnet18(), 0.5)
    blocks = ["conv1.weight", "bn1.weight"]
    blocks += [f"layer{stage}.{block}.conv2.weight" for stage in range(1, 5) for block in (0, 1)] + ["fc.weight"]
    assert [rates[name] for name in blocks] == [0.5 ** (10 - depth) for depth in range(11)]
    assert rates["layer2.0.downsample.0.weight"] == rates["layer2.0.conv1.weight"]


def test_layers_of_a_transformer_are_its_blocks() -> None:
    net = torchvision.models.VisionTransformer(32, 16, 3, 2, 8, 16)
    rates = scales(net, 0.5)
    assert rates["class_token"] == rates["encoder.pos_embedding"] == rates["conv_proj.weight"] == 0.5**5
    blocks = [rates[f"encoder.layers.encoder_layer_{number}.mlp.0.weight"] for number in range(3)]
    assert [*blocks, rates["encoder.ln.weight"], rates["heads.head.weight"]] == [0.5**4, 0.5**3, 0.5**2, 0.5, 1]


def test_layer_decay_and_weight_decay_go_together() -> None:
    optimizer = build_optimizer(ADAMW, Net(), layer_decay=0.5)
    groups = [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups]
    assert groups == [(0.01, 0.1), (0.01, 0.0), (0.005, 0.0), (0.0025, 0.1), (0.0025, 0.0)]


def test_one_rate_for_all_is_refused_where_they_differ() -> None:
    optimizer = build_optimizer(SGD, Net(), layer_decay=0.5)
    with pytest.raises(ValueError, match=r"max_lr: 0.1 would replace .* such as max_lr: \[0.1, 0.05, 0.025\]"):
        build_scheduler(partial(OneCycleLR, max_lr=0.1), optimizer, lambda: 10)
    build_scheduler(partial(OneCycleLR, max_lr=[0.2, 0.1, 0.05]), optimizer, lambda: 10)
    assert [group["max_lr"] for group in optimizer.param_groups] == [0.2, 0.1, 0.05]
    build_scheduler(WarmupCosine, build_optimizer(SGD, Net(), layer_decay=0.5), lambda: 10)
