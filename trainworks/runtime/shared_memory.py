"""Shared memory (Linux), through which loaders' workers pass batches; a container has 64 MB of it by default."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from trainworks.runtime.launch import is_main_process

FOLDER = Path("/dev/shm")
PLENTY = 8 << 30  # bytes; where so much is free, no sample is read to find out what a batch takes
MORE_ROOM = "start the container with --shm-size 8g"


def fitting_workers(num_workers: int, num_samples: int, read_one: Callable[[], Any], num_processes: int) -> int:
    """Return how many loader workers to start, at most `num_workers`: so many as shared memory has room for.

    Each holds `num_samples` ready, of which `read_one` returns a batch of one; `num_processes` share the memory.
    """
    free = shutil.disk_usage(FOLDER).free / num_processes if FOLDER.is_dir() else math.inf
    if free > PLENTY:
        return num_workers
    try:
        size = sum(leaf.nbytes for leaf in tree_leaves(read_one()) if isinstance(leaf, Tensor))
    except Exception:  # the loader meets it too, and says more
        return num_workers
    needed = 2 * num_samples * max(size, 1)  # for the loaders of training and validation
    if (fits := int(free / needed)) < num_workers and is_main_process():
        said = f"{free / 1e6:.0f} MB are free in {FOLDER}, and each loader worker needs {needed / 1e6:.0f} MB"
        print(f"{said}: {fits} of {num_workers} are started; for all of them {MORE_ROOM}")
    return min(fits, num_workers)
