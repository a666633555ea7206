import contextlib
import time
from collections import defaultdict
from typing import Any

import torch
from lightning.fabric.utilities.throughput import measure_flops
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.profilers import PassThroughProfiler, Profiler

from trainworks.callbacks.helpers.batch import batch_size
from trainworks.callbacks.helpers.isolation import has_all_weights, isolated
from trainworks.callbacks.helpers.loggers import send_scalars, steps_so_far
from trainworks.datamodules.base import BaseDataModule
from trainworks.models.base import BaseModule
from trainworks.runtime.contention import Contention
from trainworks.runtime.devices import has_bf16

STEP_PARTS = {  # parts of a step, by the end of the name under which Lightning profiles them
    "train_dataloader_next": "data",
    "batch_to_device": "transfer",
    "training_step": "forward",
    "backward": "backward",
    "optimizer_step": "optimizer",
    "whole_step": "other",  # which SpeedMonitor begins and ends itself: what is none of the parts above
}
MEASURE_EVERY_N_STEPS = 25  # on a GPU a measured step waits for the device
LARGE_STEP_FLOPS = 1e9  # from which bf16 is recommended
BF16_GAIN = "made such steps 1.3 to 1.8 times as fast (docs/speed.md)"


class SpeedMonitor(Callback):
    """Log the speed of the training and the share of each part of a step, and print at the end what to change.

    Tags are speed/samples_per_second, speed/data, speed/transfer, speed/forward, speed/backward, speed/optimizer and
    speed/other (shares of the step), speed/gflop_per_step (three times what torch.utils.flop_counter counts in the
    forward pass), speed/peak_share (of the device's measured peak), and on a GPU speed/memory_gb and speed/utilization.

    Args:
        flops: Whether to count a step's operations and measure the device's peak, once, at the start.
    """

    def __init__(self, flops: bool = True) -> None:
        self.flops = flops
        self._profiler: Any = None
        self._step_flops = self._peak_flops = 0.0
        self._flops_batch_size = 1  # of the batch whose operations were counted
        self._start = self._logged_time = self._paused = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clocks."""
        self._timer, self._contention = StepTimer(trainer.strategy.root_device), Contention()
        self._num_samples = self._logged_samples = 0
        self._start = self._logged_time = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Count the operations of a step and measure the device's peak, at the first batch."""
        if self.flops and not self._peak_flops and trainer.is_global_zero:
            self._step_flops, self._flops_batch_size = _count_flops(trainer, pl_module, batch), batch_size(batch)
            self._peak_flops = _measure_peak(trainer.strategy.root_device, str(trainer.precision))
            self._start = self._logged_time = time.perf_counter()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """End a measured step or begin one, and log every `trainer.log_every_n_steps` batches."""
        if not trainer.is_global_zero:
            return
        self._num_samples += batch_size(batch) * trainer.world_size
        if self._profiler is not None:
            self._timer.stop("whole_step")
            trainer.profiler, self._profiler = self._profiler, None
        elif (batch_idx + 1) % MEASURE_EVERY_N_STEPS == 5 and _can_measure(trainer, batch_idx):
            self._profiler, trainer.profiler = trainer.profiler, self._timer
            self._timer.start("whole_step")
        every = trainer.log_every_n_steps
        if every and (trainer.fit_loop.total_batch_idx + 1) % every == 0:
            self._log(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock during validation."""
        self._paused = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock again."""
        seconds = time.perf_counter() - self._paused
        self._start, self._logged_time = self._start + seconds, self._logged_time + seconds

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the speed, and what limits it."""
        if self._timer.num_steps:
            speed = self._num_samples / (time.perf_counter() - self._start)
            others = self._contention.share(trainer.num_devices)
            busy = f"the machine was busy: {others:.0%} of the time went to others"
            print((f"{speed:,.0f} samples/s; " if speed else "") + (busy if others else self.advice(trainer)))

    def advice(self, trainer: Trainer) -> str:
        """Return which part of a step limits the speed and, if one is known to help, the setting to change."""
        shares, data = self._timer.shares(), trainer.datamodule  # type: ignore[attr-defined]
        workers = getattr(trainer.train_dataloader, "num_workers", 0)
        bf16 = trainer.precision == "32-true" and has_bf16(trainer.strategy.root_device)
        loading = f"raise data.num_workers from {workers}"
        if getattr(getattr(data, "splits", {}).get("train"), "serves_batches", False):  # the data is in memory
            loading = "leave data.num_workers out" if workers else "a larger data.batch_size needs fewer batches"
        elif workers and hasattr(data, "storage"):
            loading += ", or prepare the cache (data.storage cache)"
        causes = (  # part, minimum share, what is printed, what to change
            ("data", 0.25, "waited for data", loading),
            ("transfer", 0.3, "went into batch transforms", "fewer or simpler data.train_transform"),
            ("optimizer", 0.35, "went into the optimizer", "a larger data.batch_size needs fewer of its steps"),
            ("other", 0.35, "was neither data nor network", "a larger data.batch_size needs fewer steps"),
        )
        for name, min_share, what, how in causes:
            if shares[name] > min_share:
                advice = f": {how}" if isinstance(data, BaseDataModule) else ""
                return f"{shares[name]:.0%} of the step {what}{advice}"
        how = f": trainer.precision bf16-mixed {BF16_GAIN}" if bf16 and self._step_flops >= LARGE_STEP_FLOPS else ""
        return f"{shares['forward'] + shares['backward']:.0%} of the step was the network itself{how}"

    def _log(self, trainer: Trainer) -> None:
        now = time.perf_counter()
        speed = (self._num_samples - self._logged_samples) / (now - self._logged_time)
        self._logged_time, self._logged_samples = now, self._num_samples
        values = {"speed/samples_per_second": speed} if speed else {}
        if self._timer.num_steps:
            values |= {f"speed/{name}": share for name, share in self._timer.shares().items()}
        if self._step_flops:
            values["speed/gflop_per_step"] = self._step_flops / 1e9
            flops_per_second = self._step_flops * speed / self._flops_batch_size / trainer.world_size
            values["speed/peak_share"] = flops_per_second / self._peak_flops
        device = trainer.strategy.root_device
        if device.type == "cuda":
            values["speed/memory_gb"] = torch.cuda.max_memory_allocated(device) / 1e9
            with contextlib.suppress(ImportError, RuntimeError):  # needs pynvml
                values["speed/utilization"] = torch.cuda.utilization(device) / 100
        send_scalars(trainer, values, steps_so_far(trainer))


def _can_measure(trainer: Any, batch_idx: int) -> bool:
    """Whether the next step belongs to this epoch, no validation comes before it, and no other profiler is used."""
    every = trainer.val_check_batch
    validates = every and every != float("inf") and (batch_idx + 1) % int(every) == 0
    is_not_last = batch_idx + 2 < trainer.num_training_batches
    return is_not_last and not validates and isinstance(trainer.profiler, PassThroughProfiler)


def _count_flops(trainer: Trainer, module: Any, batch: Any) -> float:
    """Return the floating-point operations of a training step: three times those of its forward pass."""
    if not isinstance(module, BaseModule) or not has_all_weights(trainer):
        return 0.0
    try:
        with isolated(module), torch.no_grad():
            return 3.0 * float(measure_flops(module, lambda: module.step(batch)[0]))
    except Exception:  # a network that cannot be run in eval mode with a batch of training
        return 0.0


def _measure_peak(device: torch.device, precision: str) -> float:
    """Return the floating-point operations per second that a large matrix product reaches on this device."""
    dtype = torch.bfloat16 if "bf16" in precision else torch.float16 if "16" in precision else torch.float32
    size = 8192 if device.type == "cuda" else 512
    matrix = torch.linspace(-1, 1, size * size, device=device).to(dtype).view(size, size)
    timer, best = StepTimer(device), float("inf")
    for _ in range(4):
        start = timer._now()
        matrix @ matrix
        best = min(best, timer._now() - start)
    return float(2.0 * size**3 / best)


class StepTimer(Profiler):
    """The trainer's profiler during a measured step, which times the parts of that step.

    The parts are data (waiting for the loader), transfer (copy to the device and batch transforms), forward, backward,
    optimizer and other.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.num_steps = 0
        self._begun: dict[str, float] = {}

    def start(self, action_name: str) -> None:
        """Begin a part."""
        if action_name.rpartition(".")[2] in STEP_PARTS:
            self._begun[action_name] = self._now()

    def stop(self, action_name: str) -> None:
        """End a part."""
        if action_name not in self._begun:
            return
        seconds = self._now() - self._begun.pop(action_name)
        self.seconds[STEP_PARTS[action_name.rpartition(".")[2]]] += seconds
        self.num_steps += action_name == "whole_step"
        if self._begun:  # the step contains all parts, the optimizer's step forward and backward
            self.seconds[STEP_PARTS[next(reversed(self._begun)).rpartition(".")[2]]] -= seconds

    def shares(self) -> dict[str, float]:
        """Return the share of each part in the measured steps; their sum is 1."""
        total = sum(self.seconds.values()) or 1.0
        return {name: self.seconds[name] / total for name in STEP_PARTS.values()}

    def _now(self) -> float:
        if self.device.type == "cuda":  # kernels run asynchronously
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
