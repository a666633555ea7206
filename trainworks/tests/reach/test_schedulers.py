"""Every scheduler of torch.optim gives, through a configuration, the learning rates it gives when run by hand."""

import inspect
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch.optim import lr_scheduler, swa_utils

from trainworks.optim import ChainedSchedulers, SequentialSchedulers, WarmupCosine, build_scheduler
from trainworks.tests.conftest import Result
from trainworks.tests.reach.problem import Record, halve

pytestmark = pytest.mark.reach

EPOCHS, BATCHES = 4, 3
SHORT = ("--trainer.max_epochs", str(EPOCHS), "--data.batch_size", "16")
SCHEDULERS = {
    name: kind
    for name, kind in [*vars(lr_scheduler).items(), ("SWALR", swa_utils.SWALR)]
    if isinstance(kind, type) and issubclass(kind, lr_scheduler.LRScheduler)
}
OTHERS = {  # what cannot be used, and what is said
    "LRScheduler": "NotImplementedError",  # their base
    "_LRScheduler": "NotImplementedError",  # an old name of it
    "SequentialLR": "SequentialLR takes built schedulers, .* write trainworks.optim.SequentialSchedulers",
    "ChainedScheduler": "ChainedScheduler takes built schedulers, .* write trainworks.optim.ChainedSchedulers",
}
HALVE = "trainworks.tests.reach.problem.halve"
ARGUMENTS: dict[str, dict[str, Any]] = {
    "ConstantLR": {"total_iters": 2},
    "CosineAnnealingLR": {"T_max": 4},
    "CosineAnnealingWarmRestarts": {"T_0": 2},
    "CyclicLR": {"base_lr": 0.1, "max_lr": 0.2, "step_size_up": 3},
    "ExponentialLR": {"gamma": 0.9},
    "LambdaLR": {"lr_lambda": HALVE},
    "MultiStepLR": {"milestones": [1, 3]},
    "MultiplicativeLR": {"lr_lambda": HALVE},
    "OneCycleLR": {"max_lr": 0.5},
    "ReduceLROnPlateau": {"mode": "max", "patience": 0, "threshold": 10.0},  # so nothing is ever better
    "SWALR": {"swa_lr": 0.05, "anneal_epochs": 3},
    "StepLR": {"step_size": 1},
}
WITH_ANY_SCHEDULER: dict[str, Any] = {
    name: kind
    for name, kind in vars(torch.optim).items()
    if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer)
    if name not in ("Optimizer", "SparseAdam", "Muon", "LBFGS")
}
EACH_BATCH = ("OneCycleLR", "CyclicLR")


def by_hand(build: Callable[[Any], Any], each_batch: bool) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    scheduler, rates = build(optimizer), []
    for _ in range(EPOCHS):
        for _ in range(BATCHES):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if each_batch:
                scheduler.step()
        if not each_batch:
            scheduler.step(*[1.0][: isinstance(scheduler, lr_scheduler.ReduceLROnPlateau)])
    return rates


def described(name: str, **changed: Any) -> dict[str, Any]:
    path = "torch.optim.swa_utils.SWALR" if name == "SWALR" else f"torch.optim.lr_scheduler.{name}"
    return {"class_path": path, "init_args": ARGUMENTS.get(name, {}) | changed}


def built(name: str, **changed: Any) -> Callable[[Any], Any]:
    arguments = ARGUMENTS.get(name, {}) | changed
    return partial(SCHEDULERS[name], **{key: halve if value == HALVE else value for key, value in arguments.items()})


@pytest.fixture
def rates(fit: Callable[..., Result]) -> Callable[..., list[float]]:
    def run(scheduler: dict[str, Any], *words: str, **model: Any) -> list[float]:
        sgd = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "momentum": 0.9}}
        model = {"optimizer": sgd, "scheduler": scheduler, "scheduler_monitor": "train/loss"} | model
        result = fit(model, *SHORT, *words)
        assert (result.code, result.err) == (0, "")
        return [groups[0] for groups in Record.rates]

    return run


@pytest.mark.parametrize("name", [name for name in SCHEDULERS if name not in OTHERS])
def test_every_scheduler_as_by_hand(rates: Callable[..., list[float]], name: str) -> None:
    total = {"total_steps": EPOCHS * BATCHES} if name == "OneCycleLR" else {}
    expected = by_hand(built(name, **total), name in EACH_BATCH)
    assert rates(described(name)) == pytest.approx(expected, rel=1e-9)
    assert len(set(expected)) > 1


@pytest.mark.parametrize("name", ["OneCycleLR", "CyclicLR", "CosineAnnealingLR", "trainworks.optim.WarmupCosine"])
@pytest.mark.parametrize("optimizer", WITH_ANY_SCHEDULER)
def test_every_optimizer_with_the_schedulers_of_the_examples(optimizer: str, name: str) -> None:
    """What an optimizer lacks, such as a momentum to cycle, is left out, as the parser gives all defaults."""
    kind: Any = SCHEDULERS.get(name, WarmupCosine)
    defaults = {key: item.default for key, item in inspect.signature(kind).parameters.items() if key != "optimizer"}
    given = {key: value for key, value in defaults.items() if value is not inspect.Parameter.empty}
    weight = torch.nn.Parameter(torch.ones(2, 2))
    built_one = WITH_ANY_SCHEDULER[optimizer]([weight])
    scheduler = build_scheduler(partial(kind, **(given | ARGUMENTS.get(name, {}))), built_one, lambda: 8)
    rates = set()
    for _ in range(8):
        weight.grad = torch.ones_like(weight)
        built_one.step()
        scheduler.step()
        rates.add(float(built_one.param_groups[0]["lr"]))
    assert len(rates) > 2 and torch.isfinite(weight).all()


FREQUENCIES = {  # what is typed, and the epochs (from 0) that then have a validation
    "--trainer.check_val_every_n_epoch 1": (0, 1, 2, 3),
    "--trainer.check_val_every_n_epoch 2": (1, 3),
    "--trainer.check_val_every_n_epoch null --trainer.val_check_interval 5": (1, 3),
    "--trainer.check_val_every_n_epoch null --trainer.val_check_interval 7": (2,),
    "--trainer.val_check_interval 1": (0, 1, 2, 3),
}


@pytest.mark.parametrize("accumulated", [1, 2])
@pytest.mark.parametrize("frequency", FREQUENCIES)
@pytest.mark.parametrize("name", ["ReduceLROnPlateau", "OneCycleLR", "CyclicLR", "StepLR"])
def test_whenever_it_validates_and_accumulates(
    rates: Callable[..., list[float]], name: str, frequency: str, accumulated: int
) -> None:
    """Those that watch a validation step after epochs with one, all others as if there was none."""
    steps = -(-BATCHES // accumulated)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    scheduler = built(name, **({"total_steps": EPOCHS * steps} if name == "OneCycleLR" else {}))(optimizer)
    plateau, expected = name == "ReduceLROnPlateau", []
    for epoch in range(EPOCHS):
        for batch in range(BATCHES):
            expected.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if name in EACH_BATCH and ((batch + 1) % accumulated == 0 or batch + 1 == BATCHES):
                scheduler.step()
        if name not in EACH_BATCH and (not plateau or epoch in FREQUENCIES[frequency]):
            scheduler.step(*[1.0][:plateau])
    words = ("--trainer.limit_val_batches", "3", "--trainer.accumulate_grad_batches", str(accumulated))
    values = rates(described(name), *words, *frequency.split(), scheduler_monitor="val/loss")
    assert values == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", ["LambdaLR", "MultiplicativeLR", "SWALR", "CyclicLR"])
def test_its_saved_configuration_is_read_back(fit: Callable[..., Result], tmp_path: Path, name: str) -> None:
    sgd = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "momentum": 0.9}}
    shown = fit({"optimizer": sgd, "scheduler": described(name)}, "--print_config").out
    (tmp_path / "base.yaml").write_text(shown)
    again = fit({}, "--config", "base.yaml", "--print_config")
    assert (again.code, again.err) == (0, "")
    scheduler = yaml.safe_load(shown)["model"]["init_args"]["scheduler"]
    assert scheduler["init_args"].items() >= described(name)["init_args"].items()


@pytest.mark.parametrize("name", OTHERS)
def test_what_cannot_be_used_is_refused(fit: Callable[..., Result], name: str) -> None:
    lists = {"schedulers": [described("StepLR")]} if name == "ChainedScheduler" else {}
    lists = {"schedulers": [described("StepLR")], "milestones": []} if name == "SequentialLR" else lists
    result = fit({"scheduler": described(name, **lists)})
    assert result.code == 2
    assert re.search(OTHERS[name], result.err), result.err


def sequence(*names: str, milestones: list[int]) -> dict[str, Any]:
    parts = [described(name) if name in SCHEDULERS else {"class_path": name} for name in names]
    return {
        "class_path": "trainworks.optim.SequentialSchedulers",
        "init_args": {"schedulers": parts, "milestones": milestones},
    }


def test_warm_up_then_cosine(rates: Callable[..., list[float]]) -> None:
    values = rates(sequence("LinearLR", "trainworks.optim.WarmupCosine", milestones=[4]))

    def build(optimizer: Any) -> Any:
        parts = [lr_scheduler.LinearLR(optimizer), WarmupCosine(optimizer, EPOCHS * BATCHES - 4)]
        return lr_scheduler.SequentialLR(optimizer, parts, [4])

    assert values == pytest.approx(by_hand(build, each_batch=True))
    assert values[3] < values[5] > values[-1]


def test_a_sequence_after_epochs(rates: Callable[..., list[float]]) -> None:
    def build(optimizer: Any) -> Any:
        parts = [built(name)(optimizer) for name in ("ConstantLR", "ExponentialLR")]
        return lr_scheduler.SequentialLR(optimizer, parts, [2])

    values = rates(sequence("ConstantLR", "ExponentialLR", milestones=[2]))
    assert values == pytest.approx(by_hand(build, each_batch=False))


def test_a_chain(rates: Callable[..., list[float]]) -> None:
    names = ("CosineAnnealingLR", "ExponentialLR", "StepLR")
    parts = [described(name) for name in names]
    values = rates({"class_path": "trainworks.optim.ChainedSchedulers", "init_args": {"schedulers": parts}})

    def build(optimizer: Any) -> Any:
        return lr_scheduler.ChainedScheduler([built(name)(optimizer) for name in names])

    assert values == pytest.approx(by_hand(build, each_batch=False))


def test_total_steps_are_epochs_where_it_steps_after_epochs(rates: Callable[..., list[float]]) -> None:
    values = rates({"class_path": "trainworks.optim.WarmupCosine"}, scheduler_interval="epoch")
    assert values == pytest.approx(by_hand(partial(WarmupCosine, total_steps=EPOCHS), each_batch=False))


def test_each_part_of_a_sequence_gets_its_own_steps() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    for kind, extra, expected in (
        (SequentialSchedulers, {"milestones": [4]}, [4, 26]),
        (ChainedSchedulers, {}, [30, 30]),
    ):
        factory = partial(kind, schedulers=[WarmupCosine, partial(WarmupCosine, warmup=0.0)], **extra)
        scheduler: Any = build_scheduler(factory, optimizer, lambda: 30)
        assert [part.total_steps for part in scheduler._schedulers] == expected


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (
            sequence("StepLR", "trainworks.optim.WarmupCosine", milestones=[12]),
            r"come before the end at step 12, got \[12\]",
        ),
        (
            sequence("trainworks.optim.WarmupCosine", "StepLR", "StepLR", milestones=[0, 3]),
            r"3 schedulers need 2 rising milestones, got \[0, 3\]",
        ),
        (sequence("StepLR", "StepLR", milestones=[]), r"2 schedulers need 1 rising milestones, got \[\]"),
        (sequence("StepLR", "ReduceLROnPlateau", milestones=[2]), "does not support `ReduceLROnPlateau`"),
        (
            {"class_path": "torch.optim.lr_scheduler.StepLR"},
            "scheduler: torch.optim.lr_scheduler.StepLR needs step_size",
        ),
        (
            described("ReduceLROnPlateau"),
            "monitors 'val/loss', but there is no validation; choose a metric of the training",
        ),
        (described("LambdaLR", lr_lambda=[HALVE]), "lr_lambda must be one function, got a list"),
    ],
)
def test_refused(fit: Callable[..., Result], scheduler: dict[str, Any], message: str) -> None:
    result = fit({"scheduler": scheduler}, *SHORT)
    assert result.code == 2
    assert re.search(message, result.err), result.err


def test_a_plateau_of_single_steps_is_refused(fit: Callable[..., Result]) -> None:
    result = fit({"scheduler": described("ReduceLROnPlateau"), "scheduler_interval": "step"}, *SHORT)
    assert result.code == 2
    assert "ReduceLROnPlateau watches a metric of whole epochs; leave model.scheduler_interval out" in result.err


@pytest.mark.parametrize("nested", [False, True])
def test_more_epochs_are_refused_where_the_course_depends_on_them(
    fit: Callable[..., Result], tmp_path: Path, nested: bool
) -> None:
    last = ("--callbacks.last", "trainworks.callbacks.LastCheckpoint", "--callbacks.last.dirpath", "checkpoints")
    case = sequence("LinearLR", "trainworks.optim.WarmupCosine" if nested else "StepLR", milestones=[2])
    assert fit({"scheduler": case}, *SHORT, *last, "--run_name", "a").code == 0
    again = fit({"scheduler": case}, *SHORT, *last, "--run_name", "a", "--resume", "auto", "--trainer.max_epochs", "6")
    assert again.code == (2 if nested else 0), again.err
    assert ("the learning-rate schedule spans all epochs" in again.err) == nested
