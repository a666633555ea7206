import os
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.profiler import ProfilerActivity, profile, schedule

from src.config import UsageError

NUM_SHOWN = 10


class Trace(Callback):
    """Record some training steps with torch.profiler and print the ten operations that took most time.

    The trace is written to trace.json; ui.perfetto.dev and chrome://tracing open it. It is no Lightning profiler, since
    those print the operations of whatever they recorded last, such as the test.

    Args:
        wait: Steps before the recording, at least 1; the first ones are not typical.
        num_steps: Steps recorded, at least 1.
        dirpath: Folder of the trace; a relative one is inside the run directory.

    Raises:
        ValueError: If a number is below 1.
        UsageError: If the training has not so many steps.
    """

    def __init__(self, wait: int = 10, num_steps: int = 5, dirpath: str = ".") -> None:
        if wait < 1 or num_steps < 1:
            raise ValueError(f"Trace: wait and num_steps must be at least 1, got {wait} and {num_steps}")
        self.wait, self.num_steps = wait, num_steps
        self.path = Path(dirpath) / "trace.json"
        self._profile: profile | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set up the recording on the first process."""
        steps = trainer.max_epochs * trainer.num_training_batches if trainer.max_epochs not in (None, -1) else None
        if steps is not None and steps <= self.wait + self.num_steps:
            raise UsageError(
                f"callbacks.trace waits {self.wait} steps and records {self.num_steps}, but the training has only "
                f"{steps}; raise trainer.max_epochs or lower callbacks.trace.wait"
            )
        if trainer.is_global_zero:
            os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else it reports each start, and a missing GPU as an error
            cuda = [ProfilerActivity.CUDA] if trainer.strategy.root_device.type == "cuda" else []
            self._profile = profile(
                activities=[ProfilerActivity.CPU, *cuda],
                schedule=schedule(wait=self.wait, warmup=1, active=self.num_steps, repeat=1),
                on_trace_ready=self._finish,
                acc_events=True,
            )
            self._profile.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the step."""
        if self._profile is not None:
            self._profile.step()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop, also where the training ended early."""
        if self._profile is not None:
            self._profile.stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stop."""
        self.on_train_end(trainer, pl_module)

    def _finish(self, found: Any) -> None:
        self._profile = None
        found.export_chrome_trace(str(self.path))
        operations = found.key_averages()
        costs = [(max(op.self_device_time_total, op.self_cpu_time_total), op.count, op.key) for op in operations]
        total = sum(cost for cost, *_ in costs)
        print(f"{self.num_steps} steps in {self.path}; most time (without what they call) took:")
        for cost, count, name in sorted(costs, reverse=True)[:NUM_SHOWN]:
            print(f"  {cost / total:>6.1%}  {cost / 1000:>9.2f} ms  {count:>5} calls  {name[:60]}")
