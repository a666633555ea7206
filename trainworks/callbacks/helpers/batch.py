"""Batches of any form, and what a training step returns."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves


def batch_size(batch: Any) -> int:
    """Return the number of samples of a batch: the length of its first tensor, or 0 if it has none."""
    if isinstance(batch, tuple | list) and batch and isinstance(batch[0], Tensor) and batch[0].ndim:
        return len(batch[0])  # the usual form, without a search, since this is called in every step
    match batch:
        case (list() as images, [{}, *others]) if len(images) == len(others) + 1:  # a detector's
            return len(images)
    return next((len(leaf) for leaf in tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.ndim), 0)


def inputs_of(batch: Any) -> Any:
    """Return the first part of a batch, or the batch itself if it has no parts."""
    return batch[0] if isinstance(batch, tuple | list) and batch else batch


def loss_of(outputs: Any) -> Tensor | None:
    """Return the loss, shape (), from what a training step returned; None if there is no loss in it."""
    loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
    if isinstance(loss, int | float):
        return torch.tensor(float(loss))
    return loss.detach().reshape(()) if isinstance(loss, Tensor) and loss.numel() == 1 else None
