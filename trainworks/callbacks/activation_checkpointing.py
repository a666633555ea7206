from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.utils.checkpoint import checkpoint

from trainworks.runtime.blocks import blocks
from trainworks.runtime.strategy import BATCH_NORMS


class ActivationCheckpointing(Callback):
    """Keep only the inputs of each block of the network, and recompute its activations in the backward pass.

    A step then takes about a third longer, and its memory grows with the size of one block instead of their number
    (arXiv:1604.06174). The weights stay the same: dropout draws the same numbers again, and batch norm does not count a
    batch twice.

    Args:
        min_num_parameters: Smaller blocks are left as they are; see `trainworks/runtime/blocks.py`. If there is no
            larger one, a line says so.
    """

    def __init__(self, min_num_parameters: int = 10_000) -> None:
        self.min_num_parameters = min_num_parameters
        self._done = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Replace the `forward` of each block, once; names in checkpoints stay the same."""
        if self._done or stage != "fit":
            return
        large_blocks = blocks(pl_module, self.min_num_parameters)
        if not large_blocks and trainer.is_global_zero:
            size = f"{self.min_num_parameters:,} parameters"
            print(f"no activations are recomputed: no block of at least {size} in a Sequential or ModuleList")
        for block in large_blocks:
            contexts = partial(lambda block: (nullcontext(), _frozen_statistics(block)), block)  # of both passes
            block.forward = partial(checkpoint, block.forward, use_reentrant=False, context_fn=contexts)
        self._done = True


@contextmanager
def _frozen_statistics(block: nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch norm, which has counted this batch in the first pass."""
    norms = [layer for layer in block.modules() if isinstance(layer, BATCH_NORMS) and layer.track_running_stats]
    before = [(layer.momentum, layer.num_batches_tracked) for layer in norms]
    for layer in norms:
        layer.momentum, layer.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for layer, (momentum, count) in zip(norms, before, strict=True):
            layer.momentum, layer.num_batches_tracked = momentum, count
