from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy


@contextmanager
def undisturbed(module: LightningModule) -> Iterator[None]:
    """Let a module compute something beside its training: in eval mode, not compiled, all generators as they were."""
    before = [(part, part.training, part._compiled_call_impl) for part in module.modules()]
    module.eval()
    for part in module.modules():
        part._compiled_call_impl = None  # for what is computed once, compiling takes too long
    try:
        with torch.random.fork_rng([module.device] if module.device.type == "cuda" else []):
            yield
    finally:
        for part, mode, compiled in before:
            part.training, part._compiled_call_impl = mode, compiled


def can_run_alone(trainer: Trainer) -> bool:
    """Whether one process can run the network without the others."""
    return isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy)  # others share out the weights
