"""How many threads torch takes on the CPU."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainworks.runtime.cores import allowed_cores

VARIABLE, THREADS = "OMP_NUM_THREADS", ("OMP_", "GOMP_", "KMP_", "MKL_")  # how the names of all such variables begin
WORTH = 2**24  # multiplications of a layer, at most, that are worth a thread; see docs/architecture.md


def is_stated() -> bool:
    """Whether the user stated a number of threads; torchrun sets one by itself."""
    if os.environ.get(VARIABLE) == "1" and "TORCHELASTIC_RUN_ID" in os.environ:
        try:  # what torchrun itself was started with
            return f"{VARIABLE}=".encode() in Path(f"/proc/{os.getppid()}/environ").read_bytes()
        except OSError:
            return False
    return VARIABLE in os.environ or "MKL_NUM_THREADS" in os.environ


def usual_threads() -> int:
    """Return how many threads torch takes by itself, or the user stated, but no more than the cores that it may use."""
    if is_stated():
        return torch.get_num_threads()
    cores = allowed_cores(int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    own = cores if VARIABLE in os.environ else torch.get_num_threads()  # by itself it counts real cores only
    return min(cores, own)


@contextmanager
def limited_threads(number: int) -> Iterator[None]:
    """Let torch take so many threads, and in the end what it took before."""
    before, stated = torch.get_num_threads(), os.environ.get(VARIABLE)
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        if stated is None:
            os.environ.pop(VARIABLE, None)  # Lightning sets it where it starts processes


def threads_for(module: nn.Module, inputs: Any) -> int:
    """Return how many threads to answer for a batch with: what the user stated, or what the module is worth."""
    most = torch.get_num_threads()
    return most if is_stated() else worthwhile_threads(module, inputs, most)


def worthwhile_threads(module: nn.Module, inputs: Any, most: int) -> int:
    """Return how many threads a module is worth for such inputs, from 1 to `most`: one for a small network.

    Threads wait for each other after every layer, the longer the more they are and the busier the machine is, so each
    must have enough to do between. The number comes from the shapes alone: it decides in which order is summed, and
    must be the same whenever a run continues. Inputs that do not tell, such as a list, get `most`.

    Args:
        module: The network, or the module around it.
        inputs: A batch of images (B, C, H, W), rows (B, F), whole numbers such as tokens (B, T), or sequences.
        most: Threads that there may be.
    """
    inputs = next(iter(inputs.values()), None) if isinstance(inputs, Mapping) else inputs
    weights = [weight for weight in module.parameters() if weight.ndim > 1]
    if not isinstance(inputs, Tensor) or inputs.ndim < 2 or inputs.device.type != "cpu" or not weights:
        return most
    places = len(inputs) if inputs.is_floating_point() else inputs.numel()
    if inputs.ndim > 2:  # the smallest size is taken for that of the channels or features
        places = inputs.numel() // max(min(inputs.shape[1:]), 1)
    # a matrix meets each token, but an image only once: a network without convolutions flattens it
    met = [len(inputs) if weight.ndim == 2 and inputs.ndim > 3 else places for weight in weights]
    work = sum(weight.numel() * count for weight, count in zip(weights, met, strict=True)) / len(weights)
    return max(min(most, int(work / WORTH)), 1)
