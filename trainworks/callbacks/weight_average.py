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
    """Average the weights while they train; validation, test and checkpoints use the average.

    Lightning's own callbacks validate the first weights until the average begins, and test the weights that were not
    averaged if the test follows the training in one process. Running means and variances of norm layers are averaged
    like weights.

    Args:
        decay: Share of the average that each step keeps, in [0, 1): an exponential moving average, shorter in the first
            steps. Null: the plain mean of all weights after `start` (SWA, arXiv:1803.05407).
        start: Share of the training after which the average begins, in [0, 1); until then it is the weights themselves.
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
        self._num_averaged = 0.0  # the average counts as so many weights, to which those of the moment are added

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Place the average on the device of the training, and its counter where reading it makes nobody wait."""
        if isinstance(trainer.strategy, ModelParallelStrategy):
            raise UsageError("WeightAverage needs whole weights, but FSDP shards them; take trainer.strategy ddp")
        self._device = trainer.strategy.root_device
        aside = _uncopyable(pl_module) if stage == "fit" else {}
        for name in aside:
            del pl_module.__dict__[name]
        super().setup(trainer, pl_module, stage)
        pl_module.__dict__ |= aside
        if self._average_model is not None:
            self._average_model.module.__dict__ |= aside
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
        """Whether to update after this step; the share depends on the step alone, so that a resumed run goes on."""
        if step_idx is None:
            return False
        since = step_idx - self._first_step
        count = since // self.every_n_steps
        if since < 0:
            self._num_averaged = 0.0
        elif self.decay is None:
            self._num_averaged = count
        else:
            self._num_averaged = min(self.decay / (1 - self.decay), (1 + count) / 9)
        # several optimizers pass over some numbers of steps
        latest = self.state_dict()["latest_update_step"] - 1
        return since < 0 or count > (latest - self._first_step) // self.every_n_steps

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Go on with both the weights and their average; outside a training the average alone counts."""
        if trainer.state.fn == "fit":
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    @torch.no_grad()
    def _blend(self, averages: list[Tensor], currents: list[Tensor], count: Tensor) -> None:
        if averages[0].is_floating_point():
            get_swa_multi_avg_fn()(averages, currents, self._num_averaged)
        else:  # counters of batches
            for average, current in zip(averages, currents, strict=True):
                average.copy_(current)


def _uncopyable(module: LightningModule) -> dict[str, Any]:
    """Return what a copy of a module has to share with it, such as the factories that a configuration makes."""
    found: dict[str, Any] = {}
    for name, value in module.__getstate__().items():
        if name not in ("_modules", "_parameters", "_buffers"):
            try:
                copy.deepcopy(value)
            except Exception:  # whatever stands in the way
                found[name] = value
    return found
