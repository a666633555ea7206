"""Computing something beside a training without changing it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy


@contextmanager
def isolated(module: LightningModule) -> Iterator[None]:
    """Run a module in eval mode and without compiled code; then restore its modes and the random generators."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    devices = [module.device] if module.device.type == "cuda" else []
    try:
        with torch.compiler.set_stance("force_eager"), torch.random.fork_rng(devices):
            yield
    finally:
        for part, mode in modes.items():
            part.training = mode


@contextmanager
def nondeterministic() -> Iterator[None]:
    """Allow nondeterministic algorithms, for sums of integers: torchmetrics counts 20 times as fast with them."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def has_all_weights(trainer: Trainer) -> bool:
    """Whether each process holds the whole network, so that one of them can run it alone."""
    return isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy)  # the others shard the weights
