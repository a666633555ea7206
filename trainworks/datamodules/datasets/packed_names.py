"""Names packed into one array, so that ten million of them need no Python objects, neither here nor in the workers."""

import os
from collections.abc import Iterable
from itertools import islice

import numpy as np
import torch
from torch import Tensor

CHUNK_SIZE = 100_000  # names that are Python objects at one time


def pack_names(names: Iterable[str]) -> Tensor:
    """Return names in the file system's encoding, one a row, padded with zeros: uint8 of shape (N, longest)."""
    names, parts = iter(names), [np.empty(0, "S1")]
    while chunk := [os.fsencode(name) for name in islice(names, CHUNK_SIZE)]:
        parts.append(np.array(chunk))
    return join_names(parts)


def join_names(parts: list[np.ndarray]) -> Tensor:
    """Join arrays of byte strings to one array, as `pack_names` does."""
    table = np.concatenate(parts)
    return torch.from_numpy(table.view(np.uint8).reshape(len(table), table.itemsize))


def unpack_name(row: Tensor) -> str:
    """Return the name in one row."""
    return os.fsdecode(row.numpy().tobytes().rstrip(b"\0"))
