import math
from collections import defaultdict
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor
from torch.optim.swa_utils import get_swa_multi_avg_fn

from trainworks.errors import UsageError


class WeightAverage(Callback):
    """Average the weights during training; validation, test and checkpoints use the average.

    Lightning's own callbacks validate the initial weights until the average begins, test the weights without averaging
    if the test follows the training in one process, and copy the module. Running means and variances of norm layers are
    averaged like weights; a buffer that changes its shape is its own average from then on.

    Args:
        decay: Decay of the exponential moving average in [0, 1), lower in the first steps. With null, the average is
            the plain mean of all weights after `start` (SWA, arXiv:1803.05407).
        start: Share of the training after which the average begins, in [0, 1). Before that it equals the weights.
        every_n_steps: Optimizer steps between two updates of the average, at least 1.

    Raises:
        ValueError: If an argument is out of range, or `start` is given and the training has no end.
        UsageError: If FSDP shards the weights, or no optimizer changes them.
    """

    def __init__(self, decay: float | None = 0.999, start: float = 0.0, every_n_steps: int = 1) -> None:
        if not 0 <= start < 1 or (decay is not None and not 0 <= decay < 1) or every_n_steps < 1:
            given = f"{decay}, {start} and {every_n_steps}"
            raise ValueError(f"decay and start must be in [0, 1) and every_n_steps at least 1, got {given}")
        self.decay, self.start, self.every_n_steps = decay, start, every_n_steps
        self._averages: dict[str, Tensor] = {}  # of weights and buffers, by name
        self._first_step = self._latest_step = 0  # optimizer steps before the average begins, and at its last update
        self._num_averaged = 0.0  # how many times the average counts in an update, beside the current weights

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse sharded weights."""
        if isinstance(trainer.strategy, ModelParallelStrategy):
            raise UsageError("WeightAverage needs whole weights, but FSDP shards them; take trainer.strategy ddp")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with the weights as they are, or with the averages of a checkpoint."""
        if all(type(optimizer).__module__.startswith("lightning.") for optimizer in trainer.optimizers):  # a stand-in
            raise UsageError(f"{type(pl_module).__name__} has no optimizer, so WeightAverage has no use; leave it out")
        self._pairs(pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the step at which the average begins."""
        if self.start:
            steps = trainer.estimated_stepping_batches
            if math.isinf(steps):
                advice = "set trainer.max_epochs or max_steps"
                raise UsageError(f"callbacks.average.start needs the number of steps; {advice}")
            self._first_step = int(self.start * steps)

    def should_update(self, step_idx: int) -> bool:
        """Whether to update after this step, which alone decides the share of the weights: a resumed run is exact."""
        since = step_idx - self._first_step
        count = since // self.every_n_steps
        if since < 0 or not self._latest_step:
            self._num_averaged = 0.0
        elif self.decay is None:
            self._num_averaged = count
        else:  # a decay of (1 + count) / (10 + count) at first
            self._num_averaged = min(self.decay / (1 - self.decay), (1 + count) / 9)
        # with several optimizers the step count rises by more than one
        return since < 0 or count > (self._latest_step - 1 - self._first_step) // self.every_n_steps

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        """Update the averages after an optimizer step."""
        if trainer.global_step > self._latest_step and self.should_update(trainer.global_step - 1):
            alike: defaultdict[Any, list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for average, current in self._pairs(pl_module):
                alike[current.device, current.dtype].append((average, current))
            for pairs in alike.values():
                self._blend(*map(list, zip(*pairs, strict=True)))
            self._latest_step = trainer.global_step

    @torch.no_grad()
    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Exchange weights and averages before a validation of a training, and after it."""
        for average, current in self._pairs(pl_module) if trainer.state.fn == "fit" else ():
            weight = current.clone()
            current.copy_(average)
            average.copy_(weight)

    on_validation_epoch_end = on_validation_epoch_start

    @torch.no_grad()
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the averages in the module."""
        for average, current in self._pairs(pl_module):
            if not current.is_inference():
                current.copy_(average)

    def state_dict(self) -> dict[str, Any]:
        """Return after which optimizer step the average was updated last."""
        return {"latest_update_step": self._latest_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._latest_step = state_dict["latest_update_step"]

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Save the averages as the weights, and the weights themselves beside them."""
        for key in ("state_dict", "current_model_state"):  # there and back, without a copy
            for average, current in self._pairs(pl_module):
                average.data, current.data = current.data, average.data
            checkpoint[key] = trainer.strategy.lightning_module_state_dict()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore the weights and their average; outside a training the average alone is used."""
        if trainer.state.fn == "fit" and "current_model_state" in checkpoint:
            self._averages = {}
            self._pairs(pl_module)  # which holds the averages so far
            pl_module.load_state_dict(checkpoint["current_model_state"], strict=pl_module.strict_loading)

    def _pairs(self, module: LightningModule) -> list[tuple[Tensor, Tensor]]:
        """Return the average of each weight and buffer, and itself; one that is new or has another shape is its own."""
        pairs = []
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            average = self._averages.get(name)
            if average is None or average.shape != tensor.shape or tensor.is_inference():
                with torch.inference_mode(False):  # else no training step could change it
                    average = tensor.detach().clone()
            self._averages[name] = average.to(tensor)
            pairs.append((self._averages[name], tensor))
        return pairs

    @torch.no_grad()
    def _blend(self, averages: list[Tensor], currents: list[Tensor]) -> None:
        if self._num_averaged and averages[0].is_floating_point():
            get_swa_multi_avg_fn()(averages, currents, self._num_averaged)  # type: ignore[no-untyped-call]
        else:  # the first time, and such as the number of batches that a norm layer has seen
            for average, current in zip(averages, currents, strict=True):
                average.copy_(current)
