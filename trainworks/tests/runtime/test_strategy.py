from typing import Any

import pytest

from trainworks.errors import UsageError
from trainworks.runtime.strategy import check_start_method
from trainworks.tests.conftest import DIGITS, Train

DDP = "lightning.pytorch.strategies.DDPStrategy"
NAMES = ("ddp_spawn", "ddp_fork", "ddp_notebook")


@pytest.mark.parametrize("name", [*NAMES, *(f"{name}_find_unused_parameters_true" for name in NAMES)])
def test_a_strategy_that_copies_the_process_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"a copied process cannot take over .*, got {name}; write ddp"):
        check_start_method(name)


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_a_start_method_that_copies_the_process_is_refused(method: str) -> None:
    with pytest.raises(UsageError, match=f"a copied process cannot take over .*, got {method}; write ddp"):
        check_start_method({"class_path": DDP, "init_args": {"start_method": method}})


@pytest.mark.parametrize(
    "strategy",
    [
        *("auto", "ddp", "ddp_find_unused_parameters_true", "fsdp"),
        *({"class_path": DDP}, {"class_path": DDP, "init_args": {"start_method": "popen"}}),
        {"class_path": "trainworks.runtime.fsdp.FSDPStrategy", "init_args": None},
    ],
)
def test_other_strategies_pass(strategy: Any) -> None:
    check_start_method(strategy)


def test_a_typed_start_method_is_refused_in_one_message(train: Train) -> None:
    words = ("--trainer.strategy", "DDPStrategy", "--trainer.strategy.start_method", "fork")
    result = train("--config", DIGITS, *words)
    assert result.code == 2
    assert "error: trainer.strategy: a copied process cannot take over the run's lock and signals, got" in result.err
    assert "Traceback" not in result.err
