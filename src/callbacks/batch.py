"""What callbacks ask of batches and outputs, whatever form they have."""

from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves


def batch_size(batch: Any) -> int:
    """Return the number of samples of a batch of any form."""
    if isinstance(batch, tuple | list) and isinstance(batch[0], Tensor):
        return len(batch[0])  # quick, since it is asked every step
    return next((len(leaf) for leaf in tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.ndim), 1)


def inputs_of(batch: Any) -> Any:
    """Return what a batch begins with, or the whole of it if it has no parts."""
    return batch[0] if isinstance(batch, tuple | list) else batch


def loss_of(outputs: Any) -> Any:
    """Return the loss from what a training step returned, None if it left the step out."""
    return outputs["loss"] if isinstance(outputs, dict) else outputs
