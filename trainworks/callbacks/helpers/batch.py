"""What callbacks ask of batches, outputs, metrics and modules, whatever form they have."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from trainworks.errors import UsageError
from trainworks.models.base import BaseModule


def batch_size(batch: Any) -> int:
    """Return the number of samples of a batch of any form, 0 if it holds no tensor that tells."""
    if isinstance(batch, tuple | list) and batch and isinstance(batch[0], Tensor) and batch[0].ndim:
        return len(batch[0])  # quick, since it is asked every step
    return next((len(leaf) for leaf in tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.ndim), 0)


def inputs_of(batch: Any) -> Any:
    """Return what a batch begins with, or the whole of it if it has no parts."""
    return batch[0] if isinstance(batch, tuple | list) and batch else batch


def loss_of(outputs: Any) -> Tensor | None:
    """Return the loss, shape (), from what a training step returned; None where that tells of none."""
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
    if isinstance(loss, int | float):
        return torch.tensor(float(loss))
    return loss.detach().reshape(()) if isinstance(loss, Tensor) and loss.numel() == 1 else None


def networks_of(callback: Callback, module: nn.Module) -> list[nn.Module]:
    """Return the networks of a module: its `net`, or else whatever in it has parameters."""
    net = getattr(module, "net", None)
    found = [net] if isinstance(net, nn.Module) else [part for part in module.children() if list(part.parameters())]
    if not found:
        from trainworks.models.missing_part import MissingPart

        lacking = UsageError(f"{type(callback).__name__}: {type(module).__name__} holds no network")
        raise MissingPart(module, "net") if isinstance(module, BaseModule) else lacking
    return found
