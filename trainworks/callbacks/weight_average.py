import copy
import math
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor
from torch.optim.swa_utils import get_swa_multi_avg_fn

from trainworks.errors import UsageError


class WeightAverage(WeightAveraging):
    """Average the weights during training; validation, test and checkpoints use the average.

    Lightning's own callbacks validate the initial weights until the average begins, and test the weights without
    averaging if the test follows the training in one process. Running means and variances of norm layers are averaged
    like weights.

    Args:
        decay: Decay of the exponential moving average in [0, 1), lower in the first steps. With null, the average is
            the plain mean of all weights after `start` (SWA, arXiv:1803.05407).
        start: Share of the training after which the average begins, in [0, 1). Before that it equals the weights.
        every_n_steps: Optimizer steps between two updates of the average, at least 1.

    Raises:
        ValueError: If an argument is out of range, or `start` is given and the training has no end.
        UsageError: If FSDP shards the weights.
    """

    def __init__(self, decay: float | None = 0.999, start: float = 0.0, every_n_steps: int = 1) -> None:
        if not 0 <= start < 1 or (decay is not None and not 0 <= decay < 1) or every_n_steps < 1:
            given = f"{decay}, {start} and {every_n_steps}"
            raise ValueError(f"decay and start must be in [0, 1) and every_n_steps at least 1, got {given}")
        super().__init__(multi_avg_fn=self._blend)
        self.decay, self.start, self.every_n_steps = decay, start, every_n_steps
        self._first_step = 0
        self._num_averaged = 0.0  # how many times the average counts in an update, beside the current weights

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Create the average on the training's device, and its counter on the CPU, so that no step waits for it."""
        if isinstance(trainer.strategy, ModelParallelStrategy):
            raise UsageError("WeightAverage needs whole weights, but FSDP shards them; take trainer.strategy ddp")
        self._device = trainer.strategy.root_device
        shared = _uncopyable(pl_module) if stage == "fit" else {}
        for name in shared:
            del pl_module.__dict__[name]
        super().setup(trainer, pl_module, stage)
        pl_module.__dict__ |= shared
        if self._average_model is not None:
            self._average_model.module.__dict__ |= shared
            self._average_model.n_averaged = self._average_model.n_averaged.cpu()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the step at which the average begins."""
        if self.start:
            steps = trainer.estimated_stepping_batches
            if math.isinf(steps):
                advice = "set trainer.max_epochs or max_steps"
                raise ValueError(f"callbacks.average.start needs the number of steps; {advice}")
            self._first_step = int(self.start * steps)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Whether to update after this step, which alone decides the share of the weights: a resumed run is exact."""
        if step_idx is None:
            return False
        since = step_idx - self._first_step
        count = since // self.every_n_steps
        if since < 0:
            self._num_averaged = 0.0
        elif self.decay is None:
            self._num_averaged = count
        else:  # a decay of (1 + count) / (10 + count) at first
            self._num_averaged = min(self.decay / (1 - self.decay), (1 + count) / 9)
        # with several optimizers the step count rises by more than one
        latest = self.state_dict()["latest_update_step"] - 1
        return since < 0 or count > (latest - self._first_step) // self.every_n_steps

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore the weights and their average; outside a training the average alone is used."""
        if trainer.state.fn == "fit":
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    @torch.no_grad()
    def _blend(self, averages: list[Tensor], currents: list[Tensor], count: Tensor) -> None:
        if averages[0].is_floating_point():
            get_swa_multi_avg_fn()(averages, currents, self._num_averaged)  # type: ignore[no-untyped-call]
        else:  # such as the number of batches that a norm layer has seen
            for average, current in zip(averages, currents, strict=True):
                average.copy_(current)


def _uncopyable(module: LightningModule) -> dict[str, Any]:
    """Return the attributes of a module that cannot be copied, such as factories made from a configuration."""
    shared: dict[str, Any] = {}
    for name, value in module.__getstate__().items():
        if name not in ("_modules", "_parameters", "_buffers"):
            try:
                copy.deepcopy(value)
            except Exception:  # of any type
                shared[name] = value
    return shared
