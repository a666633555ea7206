"""Copies of checkpoints, which are written while the training goes on. Only loaded for large ones."""

from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor


def copy_to_cpu(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Copy a checkpoint to the CPU's memory, so that the training may change its own tensors meanwhile."""
    copies: dict[Any, Tensor] = {}  # tensors that share memory, such as tied weights, share it in the file too

    def copy_of(tensor: Tensor) -> Tensor:
        if tensor.layout is not torch.strided:
            return tensor.detach().clone()
        key = tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride(), tensor.device
        if key not in copies:  # without blocking, CUDA copies to pinned memory, which is ten times as fast
            copies[key] = tensor.detach().to("cpu", non_blocking=tensor.is_cuda, copy=True)
        return copies[key]

    content: dict[str, Any] = apply_to_collection(checkpoint, Tensor, copy_of)
    if torch.cuda.is_available():
        torch.cuda.synchronize()  # the copies are complete only then
    return content
