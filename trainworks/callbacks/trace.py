import os
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.profiler import ProfilerActivity, profile, schedule

NUM_OPERATIONS_SHOWN = 10


class Trace(Callback):
    """Record some training steps with torch.profiler, and print the ten operations that took the most time.

    The trace is written to trace.json, which ui.perfetto.dev and chrome://tracing open. This is a callback, since
    Lightning's profilers print the operations of what they recorded last, such as the test.

    Args:
        wait: Steps before the recording, at least 1; the first steps are not typical.
        num_steps: Steps recorded, at least 1.
        dirpath: Folder of the trace, relative to the run directory or absolute.
    """

    def __init__(self, wait: int = 10, num_steps: int = 5, dirpath: str = ".") -> None:
        if wait < 1 or num_steps < 1:
            raise ValueError(f"Trace: wait and num_steps must be at least 1, got {wait} and {num_steps}")
        self.wait, self.num_steps = wait, num_steps
        self.path = Path(dirpath) / "trace.json"
        self._profile: profile | None = None
        self._recorded = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the profiler on the first process."""
        if trainer.is_global_zero:
            os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else it prints each start, and a missing GPU as an error
            cuda = [ProfilerActivity.CUDA] if trainer.strategy.root_device.type == "cuda" else []
            self._profile = profile(
                activities=[ProfilerActivity.CPU, *cuda],
                schedule=schedule(wait=self.wait, warmup=1, active=self.num_steps, repeat=1),
                on_trace_ready=self._finish,
                acc_events=True,
            )
            self._profile.start()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Tell the profiler that a step has ended."""
        if self._profile is not None and not self._recorded:
            self._profile.step()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Stop the profiler, also if the training ended early."""
        if self._profile is not None:
            self._profile.stop()
            self._profile = None
            if not self._recorded:
                print(f"no trace: recording starts after {self.wait} steps; train longer or lower callbacks.trace.wait")

    on_exception = on_train_end  # type: ignore[assignment]

    def _finish(self, recording: Any) -> None:
        self._recorded = True
        recording.export_chrome_trace(str(self.path))
        rows = recording.key_averages()
        costs = [(max(row.self_device_time_total, row.self_cpu_time_total), row.count, row.key) for row in rows]
        total = sum(cost for cost, *_ in costs)
        print(f"{self.path}: the operations with the most time of their own")
        for cost, count, name in sorted(costs, reverse=True)[:NUM_OPERATIONS_SHOWN]:
            print(f"  {cost / total:>6.1%}  {cost / 1000:>9.2f} ms  {count:>5} calls  {name[:60]}")
