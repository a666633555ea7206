import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import ModelParallelStrategy

from trainworks.callbacks.helpers.batch import networks_of


class ChannelsLast(Callback):
    """Keep the kernels of 2-d convolutions in memory with the channels last, in place.

    Small convolutions gain on a CPU, and all on a GPU with tensor cores. Shapes stay (N, C, H, W). Images follow in the
    first convolution, since its output takes the layout of its kernel. FSDP, which takes no such kernels, goes without.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Lay out the weights anew, before the optimizer makes its state like them."""
        for net in networks_of(self, pl_module):
            if not isinstance(trainer.strategy, ModelParallelStrategy):
                net.to(memory_format=torch.channels_last)
