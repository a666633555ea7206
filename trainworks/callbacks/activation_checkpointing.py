from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.utils.checkpoint import checkpoint

from trainworks.runtime.blocks import blocks

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)

class ActivationCheckpointing(Callback):
    """Keep only what goes into each block of the network, and compute the rest again in the backward pass.

    A step then takes about a third longer and its memory grows with the size of one block, not with their number
    (arXiv:1604.06174). The weights come out the same: dropout draws the same numbers again, and batch norm does not
    count a batch twice.

    Args:
        min_num_parameters: Smaller blocks are left as they are; see `trainworks/runtime/blocks.py`. Without any,
            a line says so.
    """

    def __init__(self, min_num_parameters: int = 10_000) -> None:
        self.min_num_parameters = min_num_parameters
        self._done = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Change the blocks in place, once; names in checkpoints stay as they are."""
        if self._done or stage != "fit":
            return
        found = blocks(pl_module, self.min_num_parameters)
        if not found and trainer.is_global_zero:
            least = f"{self.min_num_parameters:,} parameters"
            print(f"no activations are computed again: no block of at least {least} in a Sequential or ModuleList")
        for block in found:
            passes = partial(lambda block: (nullcontext(), _without_counting(block)), block)  # first and second
            block.forward = partial(checkpoint, block.forward, use_reentrant=False, context_fn=passes)
        self._done = True


@contextmanager
def _without_counting(block: nn.Module) -> Iterator[None]:
    """Let batch norm leave its running mean and variance alone: it has seen this batch before."""
    norms = [layer for layer in block.modules() if isinstance(layer, BATCH_NORMS) and layer.track_running_stats]
    before = [(layer.momentum, layer.num_batches_tracked) for layer in norms]
    for layer in norms:
        layer.momentum, layer.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for layer, (momentum, count) in zip(norms, before, strict=True):
            layer.momentum, layer.num_batches_tracked = momentum, count
