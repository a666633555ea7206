"""Checkpoints that are written while the training goes on. Only loaded for large ones."""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from trainworks.runs.checkpoint_io import write

WRITER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")


def begin(checkpoint: dict[str, Any], target: Path) -> Future[None]:
    """Copy a checkpoint, so that the training may change its tensors, and begin to write it.

    Returns:
        What is done when the file is there, and raises what prevented it.
    """
    copies: dict[Any, Tensor] = {}  # tensors that share memory, such as tied weights, do so in the file too

    def copied(tensor: Tensor) -> Tensor:
        if tensor.layout is not torch.strided:
            return tensor.detach().clone()
        key = tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride(), tensor.device
        if key not in copies:  # without blocking, CUDA copies to pinned memory, ten times as fast; it is waited for
            copies[key] = tensor.detach().to("cpu", non_blocking=tensor.is_cuda, copy=True)
        return copies[key]

    content = apply_to_collection(checkpoint, Tensor, copied)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return WRITER.submit(write, content, target)
