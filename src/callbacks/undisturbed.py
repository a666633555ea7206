from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy


@contextmanager
def undisturbed(module: LightningModule) -> Iterator[None]:
    """Let a module compute something beside its training: in eval mode, and all generators as they were."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.random.fork_rng([module.device] if module.device.type == "cuda" else []):
            yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def can_run_alone(trainer: Trainer, module: LightningModule) -> bool:
    """Whether one process can run the network without the others, and without compiling it once more."""
    whole = isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy)  # others share out the weights
    return whole and not any(part._compiled_call_impl for part in module.modules())
