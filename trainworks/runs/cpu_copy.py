"""Copies of checkpoints, which are written while the training goes on. Only loaded for large ones."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map


def copy_to_cpu(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Copy a checkpoint to the CPU's memory, so that the training may change its own tensors meanwhile."""
    copies: dict[Any, Tensor] = {}  # tensors that share memory, such as tied weights, share it in the file too

    def copy_of(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if value.layout is not torch.strided:
            return value.detach().clone()
        key = value.data_ptr(), value.dtype, value.shape, value.stride(), value.device
        if key not in copies:  # without blocking, CUDA copies to pinned memory, which is ten times as fast
            copies[key] = value.detach().to("cpu", non_blocking=value.is_cuda, copy=True)
        return copies[key]

    content: dict[str, Any] = tree_map(copy_of, checkpoint)
    if torch.cuda.is_available():
        torch.cuda.synchronize()  # the copies are complete only then
    return content
