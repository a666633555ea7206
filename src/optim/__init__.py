"""Optimizers and schedulers from the factories that a configuration gives."""

from src.optim.optimizer_by_name import OptimizerByName, OptimizerPart
from src.optim.parameters import Factories, Parameters, build_optimizer
from src.optim.schedulers import (
    ChainedSchedulers,
    SequentialSchedulers,
    WarmupCosine,
    build_scheduler,
    steps_per_batch,
)

__all__ = [
    "ChainedSchedulers",
    "Factories",
    "OptimizerByName",
    "OptimizerPart",
    "Parameters",
    "SequentialSchedulers",
    "WarmupCosine",
    "build_optimizer",
    "build_scheduler",
    "steps_per_batch",
]
