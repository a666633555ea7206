from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.profilers import PassThroughProfiler, SimpleProfiler
from torch import nn
from torch.optim import SGD

from trainworks.runtime.steps import STEP_HOOKS, NoProfiler, skip_idle_work
from trainworks.tests.conftest import DIGITS, QUICK, Train
from trainworks.tests.examples.classifier import ClassifierModule

CALLED: list[str] = []


class Parent(Callback):
    def on_before_backward(self, *_: Any) -> None:
        CALLED.append("before")


class Child(Parent):
    def on_after_backward(self, *_: Any) -> None:
        CALLED.append("after")


def test_only_hooks_that_do_nothing_are_passed_over() -> None:
    child, trainer = Child(), Mock(profiler=PassThroughProfiler())
    trainer.callbacks = [child]
    module = ClassifierModule(nn.Identity(), nn.CrossEntropyLoss(), SGD)
    skip_idle_work(trainer, module)
    idle = [name for name in STEP_HOOKS if getattr(child, name) is None]
    assert idle == [name for name in STEP_HOOKS if name not in ("on_before_backward", "on_after_backward")]
    idle = [name for name in STEP_HOOKS if getattr(module, name) is None]
    assert idle == [name for name in STEP_HOOKS if name != "on_train_batch_end"]


def test_a_callback_of_the_users_own_is_called_in_every_step(train: Train) -> None:
    CALLED.clear()
    result = train("fit", "--config", DIGITS, *QUICK, "--callbacks.child", "trainworks.tests.runtime.test_steps.Child")
    assert result.code == 0, result.err
    assert CALLED == ["before", "after"] * 2


@pytest.mark.parametrize(("words", "profiler"), [((), NoProfiler), (("--trainer.profiler", "simple"), SimpleProfiler)])
def test_a_profiler_that_was_asked_for_stays(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], profiler: type
) -> None:
    found: list[Any] = []
    monkeypatch.setattr(Trainer, "fit", lambda trainer, *_, **__: found.append(trainer.profiler))
    assert train("fit", "--config", DIGITS, *words).code in (0, 1)
    assert [type(one) for one in found] == [profiler]
