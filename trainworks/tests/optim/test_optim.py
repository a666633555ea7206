import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from trainworks.optim import WarmupCosine, build_optimizer, build_scheduler, steps_per_batch


def make_net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.LayerNorm([4, 1]), nn.Linear(4, 2))


def test_norms_and_biases_form_a_group_without_decay() -> None:
    net = make_net()
    optimizer = build_optimizer(partial(torch.optim.AdamW, weight_decay=0.1), net, decay_norm_and_bias=False)
    decayed, others = optimizer.param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 1, 3, 3), (2, 4)]
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(net.parameters()))


def test_frozen_parameters_are_left_out() -> None:
    net = make_net()
    net[0].requires_grad_(False)
    optimizer = build_optimizer(partial(torch.optim.AdamW, weight_decay=0.1), net, decay_norm_and_bias=False)
    assert [tuple(p.shape) for p in optimizer.param_groups[0]["params"]] == [(2, 4)]


@pytest.mark.parametrize(
    ("factory", "decay"),
    [
        (partial(torch.optim.LBFGS, line_search_fn="strong_wolfe"), False),
        (torch.optim.Rprop, False),
        (torch.optim.SGD, False),
        (partial(torch.optim.SGD, weight_decay=0.1), True),
    ],
)
def test_plain_parameters_where_groups_have_no_use(factory: type, decay: bool) -> None:
    (group,) = build_optimizer(factory, make_net(), decay).param_groups
    assert len(group["params"]) == 8


def rates(scheduler: lr_scheduler.LRScheduler, steps: int) -> list[float]:
    values = []
    for _ in range(steps):
        values.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        scheduler.step()
    return values


def test_warmup_cosine_follows_its_formula() -> None:
    optimizer = torch.optim.SGD(make_net().parameters(), lr=2.0)
    values = rates(WarmupCosine(optimizer, total_steps=10, warmup=0.4, final=0.1), 11)
    assert values[:4] == pytest.approx([2 * (step + 1) / 5 for step in range(4)])
    cosine = [2 * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / 6))) for step in range(7)]
    assert values[4:] == pytest.approx(cosine)


def test_warmup_cosine_continues_from_its_state() -> None:
    optimizer = torch.optim.SGD(make_net().parameters(), lr=2.0)
    scheduler = WarmupCosine(optimizer, total_steps=10)
    rates(scheduler, 5)
    other = WarmupCosine(torch.optim.SGD(make_net().parameters(), lr=2.0), total_steps=10)
    other.load_state_dict(scheduler.state_dict())
    assert rates(other, 5) == pytest.approx(rates(scheduler, 5))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"total_steps": 0}, "total_steps must be at least 1, got 0"),
        ({}, "total_steps must be at least 1, got None"),
        ({"total_steps": 5, "warmup": 1.0}, r"warmup must be in \[0, 1\)"),
        ({"total_steps": 5, "final": 2.0}, r"final in \[0, 1\], got 0.1 and 2.0"),
    ],
)
def test_warmup_cosine_refuses(arguments: dict[str, float], message: str) -> None:
    optimizer = torch.optim.SGD(make_net().parameters(), lr=2.0)
    with pytest.raises(ValueError, match=message):
        WarmupCosine(optimizer, **arguments)  # type: ignore[arg-type]


def test_total_steps_are_filled_in_only_where_nobody_gave_them() -> None:
    optimizer = torch.optim.SGD(make_net().parameters(), lr=1.0)
    filled = build_scheduler(partial(lr_scheduler.OneCycleLR, max_lr=1.0), optimizer, lambda: 30)
    assert filled.total_steps == 30
    given = build_scheduler(partial(lr_scheduler.OneCycleLR, max_lr=1.0, total_steps=7), optimizer, lambda: 30)
    assert given.total_steps == 7
    epochs = partial(lr_scheduler.OneCycleLR, max_lr=1.0, epochs=2, steps_per_epoch=4)
    assert build_scheduler(epochs, optimizer, lambda: 30).total_steps == 8
    step = build_scheduler(partial(lr_scheduler.StepLR, step_size=3), optimizer, lambda: 30)
    assert step.step_size == 3
    with pytest.raises(ValueError, match=r"set trainer.max_steps, or trainer.max_epochs where the data has"):
        build_scheduler(WarmupCosine, optimizer, lambda: math.inf)


def test_which_schedulers_step_after_every_batch() -> None:
    optimizer = torch.optim.SGD(make_net().parameters(), lr=1.0, momentum=0.9)
    assert steps_per_batch(lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=5))
    assert steps_per_batch(WarmupCosine(optimizer, total_steps=5))
    assert steps_per_batch(lr_scheduler.CyclicLR(optimizer, 0.1, 1.0))
    assert not steps_per_batch(lr_scheduler.CosineAnnealingLR(optimizer, 5))
    assert not steps_per_batch(lr_scheduler.ReduceLROnPlateau(optimizer))
