from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy


@contextmanager
def uncompiled(module: LightningModule) -> Iterator[None]:
    """Let a module run as if nothing of it was compiled, for shapes that come once: compiling them takes too long."""
    with torch.compiler.set_stance("force_eager"):
        yield


@contextmanager
def undisturbed(module: LightningModule) -> Iterator[None]:
    """Let a module compute something beside its training: in eval mode, not compiled, all generators as they were."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with uncompiled(module), torch.random.fork_rng([module.device] if module.device.type == "cuda" else []):
            yield
    finally:
        for part, mode in modes.items():
            part.training = mode


@contextmanager
def any_order() -> Iterator[None]:
    """Count without deterministic algorithms: whole numbers are the same, and torchmetrics takes 20 times as long."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def can_run_alone(trainer: Trainer) -> bool:
    """Whether one process can run the network without the others."""
    return isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy)  # others shard the weights
