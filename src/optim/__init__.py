"""Machinery: parameter groups, several optimizers, schedulers in lists."""

from src import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    optimizer_by_name="OptimizerByName OptimizerPart",
    parameters="Parameters build_optimizer",
    scheduler_lists="ChainedSchedulers SequentialSchedulers",
    schedulers="build_scheduler steps_per_batch",
    warmup_cosine="WarmupCosine",
)
