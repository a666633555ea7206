from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from trainworks.callbacks.helpers.batch import loss_of
from trainworks.errors import RunFailure

MOST_KEPT = 1000  # losses


class FiniteLoss(Callback):
    """Stop a training whose loss became NaN or infinite, and see that no checkpoint holds such weights.

    Losses stay on their device and are looked at together: every `trainer.log_every_n_steps` batches, at the end of an
    epoch and before each save, so that no step waits for it. A module whose step returns none has its weights alone
    looked at, before each save. `python train.py replay --resume RUN` then finds the samples and the layer.

    Args:
        skip: Leave out steps whose gradients are not finite and go on, on all processes alike, and count them. Every
            step then waits for the device. Within a window of accumulation the whole window is left out.

    Raises:
        RunFailure: If the loss, or a weight that is about to be saved, is not finite.
    """

    def __init__(self, skip: bool = False) -> None:
        self.skip = skip
        self.num_skipped = 0
        self._losses: dict[int, Tensor] = {}  # since they were looked at, by batch, counted over all epochs
        self._buffers: list[Tensor] = []
        if not skip:  # Lightning then calls neither; see trainworks/runtime/steps.py
            self.on_train_batch_start = self.on_before_optimizer_step = None  # type: ignore[assignment, method-assign]

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Remember what a batch changes besides the weights, such as running means, where it may have to be undone."""
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._buffers = [buffer.clone() for buffer in pl_module.buffers()]

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Take the gradients away where one is not finite; the optimizer then changes nothing.

        The gradients are already those of all processes, so all decide alike; where each holds a part, they agree.
        """
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if _all_finite(gradients, pl_module.device):
            return
        optimizer.zero_grad(set_to_none=True)
        for buffer, before in zip(pl_module.buffers(), self._buffers, strict=True):
            buffer.copy_(before)
        self.num_skipped += 1

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Keep the loss, and now and then look at all that were kept."""
        if self.skip or (loss := loss_of(outputs)) is None:
            return
        self._losses[trainer.fit_loop.total_batch_idx] = loss
        if len(self._losses) >= min(trainer.log_every_n_steps or MOST_KEPT, MOST_KEPT):
            self._look(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look once an epoch at least."""
        self._look(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Refuse to save weights that are not finite; the checkpoints before stay as they are."""
        self._look(trainer)
        state = checkpoint["state_dict"].items()
        weights = {name: value for name, value in state if isinstance(value, Tensor) and value.is_floating_point()}
        if not _all_finite(list(weights.values()), pl_module.device):
            broken = [name for name, value in weights.items() if not torch.isfinite(_own_part(value)).all()]
            name = broken[0] if broken else "a weight"  # which another process holds
            raise _failure(trainer, f"{name} holds NaN or infinite values after", trainer.fit_loop.total_batch_idx)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say how many steps were left out."""
        if self.num_skipped and trainer.is_global_zero:
            print(f"{self.num_skipped} steps were left out, since a gradient was not finite")

    def state_dict(self) -> dict[str, Any]:
        """Return the count, for a run that continues."""
        return {"num_skipped": self.num_skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.num_skipped = state_dict["num_skipped"]

    def _look(self, trainer: Trainer) -> None:
        if not self._losses:
            return
        numbers, device = list(self._losses), trainer.strategy.root_device
        finite = torch.isfinite(torch.stack([loss.float() for loss in self._losses.values()])).long().to(device)
        self._losses = {}
        if trainer.world_size > 1:
            dist.all_reduce(finite, dist.ReduceOp.MIN)
        if not finite.all():
            raise _failure(trainer, "the loss became NaN or infinite in", numbers[int(finite.argmin())])


def _failure(trainer: Any, what: str, number: int) -> RunFailure:
    """Say in which batch something became NaN or infinite, and what helps; `number` counts the batches of the run."""
    epoch, batch = divmod(number, max(int(trainer.num_training_batches), 1))
    clipping = ", trainer.gradient_clip_val 1.0" if trainer.lightning_module.automatic_optimization else ""
    return RunFailure(
        f"{what} batch {batch} of epoch {epoch} (batch {number} of the run, all counted from 0). What was saved "
        f"before is sound. A lower learning rate{clipping} or callbacks.finite.skip true may help. To find samples "
        f"and layer: python train.py replay --resume {trainer.default_root_dir} --batch {number}"
    )


def _all_finite(tensors: list[Tensor], device: torch.device) -> bool:
    """Whether all values of all tensors are finite, on all processes if they hold parts; reads the device once."""
    if not tensors:
        return True
    finite = torch.stack([torch.isfinite(_own_part(tensor)).all() for tensor in tensors]).all().long().to(device)
    if any(isinstance(tensor, DTensor) for tensor in tensors):
        dist.all_reduce(finite, dist.ReduceOp.MIN)
    return bool(finite)


def _own_part(tensor: Tensor) -> Tensor:
    """Return what this process holds of a tensor that may be sharded."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
