"""How many threads torch uses on the CPU."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainworks.runtime.cores import allowed_cores

NUM_THREADS = "OMP_NUM_THREADS"
THREAD_PREFIXES = ("OMP_", "GOMP_", "KMP_", "MKL_")  # how all environment variables about threads begin
MULTIPLICATIONS_PER_THREAD = 2**24  # fewer are not worth a thread; see docs/internals.md


def is_stated() -> bool:
    """Whether the user has set a number of threads; torchrun sets one by itself."""
    if os.environ.get(NUM_THREADS) == "1" and "TORCHELASTIC_RUN_ID" in os.environ:
        try:  # the environment of torchrun
            return f"{NUM_THREADS}=".encode() in Path(f"/proc/{os.getppid()}/environ").read_bytes()
        except OSError:
            return False
    return NUM_THREADS in os.environ or "MKL_NUM_THREADS" in os.environ


def usual_threads() -> int:
    """Return how many threads the user has set, or else torch's own number, at most the cores that it may use."""
    if is_stated():
        return torch.get_num_threads()
    cores = allowed_cores(int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    return cores if NUM_THREADS in os.environ else min(cores, torch.get_num_threads())  # torch counts real cores only


@contextmanager
def limited_threads(num_threads: int) -> Iterator[None]:
    """Let torch use so many threads, and afterwards as many as before."""
    before, stated = torch.get_num_threads(), os.environ.get(NUM_THREADS)
    torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        if stated is None:
            os.environ.pop(NUM_THREADS, None)  # Lightning sets it where it starts processes


def threads_for(module: nn.Module, inputs: Any) -> int:
    """Return how many threads to predict a batch with: what the user has set, or what the module is worth."""
    max_threads = torch.get_num_threads()
    return max_threads if is_stated() else worthwhile_threads(module, inputs, max_threads)


def worthwhile_threads(module: nn.Module, inputs: Any, max_threads: int) -> int:
    """Return how many threads a module is worth for such inputs, from 1 to `max_threads`: one for a small network.

    Threads wait for each other after every layer, the longer the more of them there are and the busier the machine is,
    so each must have enough work in between. The number depends on the shapes alone: it decides in which order values
    are summed, so it must be the same when a run continues. Inputs are a batch of images (B, C, H, W), rows (B, F),
    integers such as tokens (B, T), or sequences; those without a shape, such as a list, get `max_threads`.
    """
    inputs = next(iter(inputs.values()), None) if isinstance(inputs, Mapping) else inputs
    weights = [weight for weight in module.parameters() if weight.ndim > 1]
    if not isinstance(inputs, Tensor) or inputs.ndim < 2 or inputs.device.type != "cpu" or not weights:
        return max_threads
    positions = len(inputs) if inputs.is_floating_point() else inputs.numel()
    if inputs.ndim > 2:  # the smallest size is taken for that of the channels or features
        positions = inputs.numel() // max(min(inputs.shape[1:]), 1)
    # a matrix is applied to each token, but to an image only once: a network without convolutions flattens it
    uses = [len(inputs) if weight.ndim == 2 and inputs.ndim > 3 else positions for weight in weights]
    work = sum(weight.numel() * count for weight, count in zip(weights, uses, strict=True)) / len(weights)
    return max(min(max_threads, int(work / MULTIPLICATIONS_PER_THREAD)), 1)
