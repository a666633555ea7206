from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from trainworks.callbacks.helpers.batch import loss_of
from trainworks.errors import RunFailure

MAX_UNCHECKED_LOSSES = 1000


class FiniteLoss(Callback):
    """Stop a training whose loss became NaN or infinite, before a checkpoint holds such weights.

    Losses stay on their device and are checked together, so that no step waits for it: every
    `trainer.log_every_n_steps` batches, at the end of an epoch, and before each save. The weights are checked before
    each save, also of a module whose step returns no loss. `python train.py replay --resume RUN` then finds the samples
    and the layer. For a module that logs nothing of its training, the mean over an epoch's batches is train/loss.

    Args:
        skip: Skip optimizer steps whose gradients are not finite, on all processes alike, and count them. Every step
            then waits for the device. With accumulated gradients the whole window is skipped.

    Raises:
        RunFailure: If the loss, or a weight that is about to be saved, is not finite.
    """

    def __init__(self, skip: bool = False) -> None:
        self.skip = skip
        self.num_skipped = 0
        self._losses: dict[int, Tensor] = {}  # not checked yet, by the index of their batch in the run
        self._checked: list[Tensor] = []  # those of this epoch
        self._buffers: list[Tensor] = []
        self._unbounded = set[str]()  # buffers that are infinite from the start, such as a causal mask
        if not skip:  # then Lightning calls neither hook; see trainworks/runtime/steps.py
            self.on_train_batch_start = self.on_before_optimizer_step = None  # type: ignore[assignment, method-assign]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the buffers that are infinite by design."""
        buffers = {name: item for name, item in pl_module.named_buffers(remove_duplicate=False) if not is_lazy(item)}
        known = {name: _local_shard(item) for name, item in buffers.items() if item.is_floating_point()}
        self._unbounded = {name for name, item in known.items() if not torch.isfinite(item).all()}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Copy the buffers, such as running means, which are restored if the step is skipped."""
        if batch_idx % trainer.accumulate_grad_batches == 0:
            self._buffers = [buffer.clone() for buffer in pl_module.buffers()]

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Clear the gradients if one of them is not finite; the optimizer then changes nothing.

        The gradients are already reduced over all processes, so all decide alike; with shards they exchange the result.
        """
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if _all_finite(gradients, pl_module.device):
            return
        optimizer.zero_grad(set_to_none=True)
        for buffer, before in zip(pl_module.buffers(), self._buffers, strict=True):
            buffer.copy_(before)
        self.num_skipped += 1

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Keep the loss, and check all kept losses now and then."""
        if self.skip or (loss := loss_of(outputs)) is None:
            return
        self._losses[trainer.fit_loop.total_batch_idx] = loss
        if len(self._losses) >= min(trainer.log_every_n_steps or MAX_UNCHECKED_LOSSES, MAX_UNCHECKED_LOSSES):
            self._check_losses(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Refuse to save weights that are not finite; earlier checkpoints stay as they are."""
        self._check_losses(trainer)
        state = {name: value for name, value in checkpoint["state_dict"].items() if name not in self._unbounded}
        weights = {name: item for name, item in state.items() if isinstance(item, Tensor) and item.is_floating_point()}
        if not _all_finite(list(weights.values()), pl_module.device):
            broken = [name for name, value in weights.items() if not torch.isfinite(_local_shard(value)).all()]
            name = broken[0] if broken else "a weight"  # in the shard of another process
            raise _failure(trainer, f"{name} holds NaN or infinite values after", trainer.fit_loop.total_batch_idx)

    def on_train_epoch_end(self, trainer: Any, pl_module: LightningModule) -> None:
        """Check the last losses, and log their mean for a module that logs nothing of its training."""
        self._check_losses(trainer)
        logs = any(not key.startswith("on_train_epoch_end.") for key in trainer._results)
        if self._checked and not logs and not is_overridden("on_train_epoch_end", pl_module):
            mean = torch.cat(self._checked).mean() * trainer.accumulate_grad_batches  # by which Lightning divides each
            pl_module.log("train/loss", mean, sync_dist=trainer.world_size > 1)
        self._checked = []

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print how many steps were skipped."""
        if self.num_skipped and trainer.is_global_zero:
            print(f"{self.num_skipped} steps were skipped, since a gradient was not finite")

    def state_dict(self) -> dict[str, Any]:
        """Return the number of skipped steps."""
        return {"num_skipped": self.num_skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the number of skipped steps."""
        self.num_skipped = state_dict["num_skipped"]

    def _check_losses(self, trainer: Trainer, *_: Any) -> None:
        if not self._losses:
            return
        batch_indices, device = list(self._losses), trainer.strategy.root_device
        self._checked.append(torch.stack([loss.float() for loss in self._losses.values()]).to(device))
        finite, self._losses = torch.isfinite(self._checked[-1]).long(), {}
        if trainer.world_size > 1:
            dist.all_reduce(finite, dist.ReduceOp.MIN)
        if not finite.all():
            raise _failure(trainer, "the loss became NaN or infinite in", batch_indices[int(finite.argmin())])


def _failure(trainer: Any, what: str, batch_index: int) -> RunFailure:
    """Return an error that names the batch, by its index in the run, and what may help."""
    epoch, batch = divmod(batch_index, max(int(trainer.num_training_batches), 1))
    clipping = ", trainer.gradient_clip_val 1.0" if trainer.lightning_module.automatic_optimization else ""
    return RunFailure(
        f"{what} batch {batch} of epoch {epoch} (batch {batch_index} of the run, all counted from 0). Earlier "
        f"checkpoints are finite. A lower learning rate{clipping} or callbacks.finite.skip true may help. To find "
        f"samples and layer: python train.py replay --resume {trainer.default_root_dir} --batch {batch_index}"
    )


def _all_finite(tensors: list[Tensor], device: torch.device) -> bool:
    """Whether all values are finite, on all processes if the tensors are sharded; waits for the device once."""
    if not tensors:
        return True
    finite = torch.stack([torch.isfinite(_local_shard(tensor)).all() for tensor in tensors]).all().long().to(device)
    if any(isinstance(tensor, DTensor) for tensor in tensors):
        dist.all_reduce(finite, dist.ReduceOp.MIN)
    return bool(finite)


def _local_shard(tensor: Tensor) -> Tensor:
    """Return the shard of this process, or the tensor itself if it is not sharded."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
