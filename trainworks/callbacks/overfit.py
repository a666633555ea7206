import copy
import statistics
from collections import UserList
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from trainworks.callbacks.helpers.batch import loss_of

NEAR_ZERO_SHARE = 0.1  # the network can learn if the last loss is below this share of the first
LEARNING_SHARE = 0.7  # the network learns, though slowly, if it is below this share
NUM_LAST_LOSSES = 10  # whose mean is the last loss


class Overfit(Callback):
    """Train on one batch again and again, and print whether its loss came near zero, as it does if the network learns.

    Batch transforms are those of evaluation, and random transforms of single samples are drawn once.
    `trainer.max_epochs 1` is enough.

    Args:
        num_steps: Number of steps on the batch, at least 1.
    """

    def __init__(self, num_steps: int = 200) -> None:
        if num_steps < 1:
            raise ValueError(f"callbacks.overfit.num_steps must be at least 1, got {num_steps}")
        self.num_steps = num_steps
        self._losses: list[Tensor] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Replace the training data by one batch of it."""
        data: Any = trainer.datamodule or pl_module  # type: ignore[attr-defined]
        if stage == "fit":
            loader = data.train_dataloader
            data.train_dataloader = lambda: _Repeated([next(iter(loader()))] * self.num_steps)
            data.train_transform = getattr(data, "eval_transform", [])

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Keep the loss, on its device."""
        if (loss := loss_of(outputs)) is not None:
            self._losses.append(loss * trainer.accumulate_grad_batches)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the verdict."""
        if trainer.is_global_zero and self._losses:
            print(verdict([float(loss) for loss in self._losses]))


def verdict(losses: list[float]) -> str:
    """Return what the losses of one batch, in the order of the steps, say about the network."""
    first, end = losses[0], statistics.fmean(losses[-NUM_LAST_LOSSES:])
    change = f"from {first:.3g} to {end:.3g} in {len(losses)} steps"
    if min(first, end) < 0:
        return f"the loss of one batch went {change}; it can be negative, so look whether it fell as far as it can"
    if end < NEAR_ZERO_SHARE * first:
        return f"the loss of one batch fell {change}, near zero: the network can learn"
    if end < LEARNING_SHARE * first:
        return (
            f"the loss of one batch fell {change}: the network learns, but zero is far. A VAE's or a detector's loss, "
            "and one with label smoothing, ends above zero; else try more callbacks.overfit.num_steps"
        )
    return (
        f"the loss of one batch stayed high, {change}: look at the learning rate (ten times more or less), at what "
        "goes in (values, labels), and whether the loss fits the last layer"
    )


class _Repeated(UserList[Any]):
    """A list of one batch many times, which yields copies of it, since transforms may work in place."""

    def __getitem__(self, index: Any) -> Any:
        return copy.deepcopy(self.data[index])
