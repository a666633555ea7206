"""Names as rows of one array, so that neither ten million of them nor the workers' copies are Python objects."""

import os
from collections.abc import Iterable
from itertools import islice

import numpy as np
import torch
from torch import Tensor

CHUNK = 100_000  # names that are Python objects at one time


def pack_names(names: Iterable[str]) -> Tensor:
    """Return one name a row, in the file system's encoding, padded with zeros: uint8 of shape (N, longest)."""
    names, parts = iter(names), [np.empty(0, "S1")]
    while chunk := [os.fsencode(name) for name in islice(names, CHUNK)]:
        parts.append(np.array(chunk))
    return join_names(parts)


def join_names(parts: list[np.ndarray]) -> Tensor:
    """Return arrays of byte strings as one array, as `pack_names` does."""
    table = np.concatenate(parts)
    return torch.from_numpy(table.view(np.uint8).reshape(len(table), table.itemsize))


def unpack_name(row: Tensor) -> str:
    """Return one name from its row."""
    return os.fsdecode(row.numpy().tobytes().rstrip(b"\0"))
