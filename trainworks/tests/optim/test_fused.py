import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from trainworks.optim import OptimizerByName, OptimizerPart, build_optimizer
from trainworks.tests.conftest import DIGITS, PLAIN, Train
from trainworks.tests.test_exact_resume import state


def make_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))


def fused(factory: Any, net: nn.Module | None = None) -> set[Any]:
    return {group.get("fused") for group in build_optimizer(factory, net or make_net()).param_groups}


OPTIM = torch.optim


@pytest.mark.parametrize("factory", [OPTIM.AdamW, OPTIM.Adam])
def test_it_is_fused_where_it_can_be(factory: Any) -> None:
    assert fused(factory) == {True}


@pytest.mark.parametrize("choice", [{"fused": False}, {"foreach": False}, {"foreach": True}, {"differentiable": True}])
def test_a_choice_of_the_user_stays(choice: dict[str, bool]) -> None:
    assert fused(partial(OPTIM.Adam, **choice)) == {choice.get("fused")}


@pytest.mark.parametrize("factory", [OPTIM.NAdam, OPTIM.Adagrad, OPTIM.RMSprop, OPTIM.SGD])
def test_others_stay_as_they_are(factory: Any) -> None:
    assert fused(factory) <= {None}


def test_parameters_that_the_kernels_do_not_take() -> None:
    class Subclass(nn.Parameter):  # as a DTensor's parameters are no plain ones
        pass

    base = torch.randn(4, 6)
    for parameter in (Subclass(base), nn.Parameter(base[:, ::2]), nn.Parameter(base.to(torch.complex64))):
        net = make_net()
        net.register_parameter("odd", parameter)
        assert fused(partial(OPTIM.Adam, weight_decay=0.0), net) == {None}
    assert fused(OPTIM.Adam, nn.Embedding(5, 3, sparse=True)) == {None}
    assert fused(OPTIM.Adam, make_net().to(memory_format=torch.channels_last)) == {True}


def test_each_part_of_several_optimizers_is_seen_to() -> None:
    parts = [OptimizerPart(OPTIM.RMSprop, pattern="bias"), OptimizerPart(OPTIM.AdamW)]
    optimizer = build_optimizer(partial(OptimizerByName, parts=parts), make_net())
    assert [group.get("fused") for group in optimizer.param_groups] == [None, True]
    assert [group.get("fused") for group in optimizer.optimizers[1].param_groups] == [True]  # type: ignore[attr-defined]


@pytest.mark.parametrize("factory", [partial(OPTIM.AdamW, lr=0.1), partial(OPTIM.Adam, lr=0.1)])
def test_steps_are_those_of_the_default(factory: Any) -> None:
    nets = [make_net(), make_net()]
    optimizers = [build_optimizer(factory, nets[0]), build_optimizer(partial(factory, foreach=True), nets[1])]
    for _ in range(3):
        for net, optimizer in zip(nets, optimizers, strict=True):
            optimizer.zero_grad()
            torch.manual_seed(1)
            net(torch.randn(8, 3, 3, 3)).square().mean().backward()
            optimizer.step()
    for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_state_of_another_layout_is_laid_out_anew() -> None:
    """The CPU's kernels walk through memory, and would take one value's moments for another's."""

    def step(net: nn.Module, optimizer: OPTIM.Optimizer) -> None:
        torch.manual_seed(1)
        net(torch.randn(8, 3, 3, 3)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    net = make_net()
    optimizer = build_optimizer(partial(OPTIM.Adam, lr=0.1), net)
    step(net, optimizer)
    other = make_net().to(memory_format=torch.channels_last)
    other.load_state_dict(net.state_dict())
    continued = build_optimizer(partial(OPTIM.Adam, lr=0.1), other)
    continued.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    step(net, optimizer)
    step(other, continued)
    for one, two in zip(net.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("chosen", [(), ("--model.optimizer.fused", "true")])
def test_gradients_are_clipped_in_mixed_precision(train: Train, chosen: tuple[str, ...]) -> None:
    words = ("--trainer.precision", "bf16-mixed", "--trainer.gradient_clip_val", "0.1", *chosen)
    result = train("fit", "--config", DIGITS, "--trainer.fast_dev_run", "true", *words)
    assert (result.code, result.err) == (0, "")


def test_a_run_of_before_goes_on_as_it_began(train: Train) -> None:
    """What a checkpoint says of its optimizer counts, also where a new run would be fused."""
    words = ("fit", "--config", DIGITS, "--trainer.limit_train_batches", "2", *PLAIN, "--model.scheduler", "null")
    assert train(*words, "--trainer.max_epochs", "1", "--run_name", "a").code == 0
    path = Path("logs/digits/a/checkpoints/last.ckpt")
    checkpoint = state(path.parent.parent)
    assert [group["fused"] for group in checkpoint["optimizer_states"][0]["param_groups"]] == [True, True]
    for group in checkpoint["optimizer_states"][0]["param_groups"]:
        group["fused"] = None
    torch.save(checkpoint, path)
    result = train(*words, "--trainer.max_epochs", "2", "--resume", "logs/digits/a")
    assert result.code == 0, result.err
    groups = state(path.parent.parent)["optimizer_states"][0]["param_groups"]
    assert [group["fused"] for group in groups] == [None, None]
