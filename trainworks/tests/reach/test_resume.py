"""What only this part adds continues exactly too; trainworks/tests/test_exact_resume.py has all else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainworks.tests.conftest import DIGITS
from trainworks.tests.test_exact_resume import NET, SHORT, STEPS, interrupted

pytestmark = pytest.mark.reach

__all__ = ["interrupted"]  # a fixture
AVERAGE = "trainworks.callbacks.WeightAverage"
PARTS = [
    {"kind": "matrix", "optimizer": {"class_path": "torch.optim.Muon", "init_args": {"lr": 0.02}}},
    {"pattern": "bias", "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.02, "momentum": 0.9}}},
    {"optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}}},
]
SEQUENCE = [{"class_path": "torch.optim.lr_scheduler.LinearLR"}, {"class_path": "trainworks.optim.WarmupCosine"}]
EXPONENTIAL = {"class_path": "torch.optim.lr_scheduler.ExponentialLR", "init_args": {"gamma": 0.9}}
CASES: dict[str, dict[str, Any]] = {
    "several optimizers, schedulers in a sequence": {
        "model": {
            "init_args": {
                "optimizer": {"class_path": "trainworks.optim.OptimizerByName", "init_args": {"parts": PARTS}},
                "scheduler": {
                    "class_path": "trainworks.optim.SequentialSchedulers",
                    "init_args": {"schedulers": SEQUENCE, "milestones": [9]},
                },
            }
        }
    },
    "LBFGS, a chain of schedulers": {
        "model": {
            "init_args": {
                "optimizer": {"class_path": "torch.optim.LBFGS", "init_args": {"lr": 0.05, "max_iter": 2}},
                "scheduler": {
                    "class_path": "trainworks.optim.ChainedSchedulers",
                    "init_args": {"schedulers": [SEQUENCE[0], EXPONENTIAL]},
                },
            }
        }
    },
    "an average from the middle on": {"callbacks": {"average": {"class_path": AVERAGE, "init_args": {"start": 0.4}}}},
    "learning rates by layer": {
        "model": {"init_args": {"layer_decay": 0.7, "scheduler": {"class_path": "trainworks.optim.WarmupCosine"}}}
    },
}


@pytest.mark.parametrize("bomb", ["batch:5", "batch:12"])
@pytest.mark.parametrize("case", CASES)
def test_it_continues_exactly(interrupted: Callable[..., list[str]], tmp_path: Path, case: str, bomb: str) -> None:
    (tmp_path / "case.yaml").write_text(yaml.safe_dump(CASES[case]))
    shown = interrupted(DIGITS, *SHORT, *NET, *STEPS, "--config", "case.yaml", bombs=(bomb,))
    assert "continues from" in shown[-1]
