"""Skip what Lightning does in every training step without effect; docs/benchmarks.md says what that saves."""

from contextlib import AbstractContextManager, nullcontext

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.profilers import PassThroughProfiler

STEP_HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)


class NoProfiler(PassThroughProfiler):
    """Profiles nothing; unlike PassThroughProfiler it makes no generator for each of the 80 actions of a step."""

    nothing = nullcontext("")

    def profile(self, action_name: str) -> AbstractContextManager[str]:  # type: ignore[override]
        """Do nothing."""
        return self.nothing


def skip_idle_work(trainer: Trainer, module: LightningModule) -> None:
    """Let the trainer skip hooks that nobody has defined, and profiling where nobody asked for it.

    Lightning calls only hooks that are callable, so those that nobody has defined are set to None.
    """
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    for owner, base in [(module, LightningModule), *((callback, Callback) for callback in callbacks)]:
        for name in STEP_HOOKS:
            if getattr(type(owner), name) is getattr(base, name):
                setattr(owner, name, None)
    if type(trainer.profiler) is PassThroughProfiler:  # type: ignore[attr-defined]
        trainer.profiler = NoProfiler()  # type: ignore[attr-defined]
