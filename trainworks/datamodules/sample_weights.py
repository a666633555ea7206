"""How often samples come, and in how many batches, where it is not each once in full batches."""

import math
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from trainworks.datamodules.annotations import classes_of, column
from trainworks.errors import UsageError


def batches_for_all(length: int, num_replicas: int, batch_size: int, divisible: bool = True) -> int | None:
    """Return into how many batches each process divides its samples if all must take equally many, none of them empty.

    Of `length` samples in all, each takes at most `batch_size` at once; only if they are `divisible` may batches be
    smaller. It is None where full batches and a smaller last one are equally many already.
    """
    most, least = math.ceil(length / num_replicas), length // num_replicas
    num_batches = math.ceil(most / batch_size)
    if math.ceil(least / batch_size) == num_batches:
        return None
    if least < num_batches or not divisible:
        raise UsageError(
            f"{length} samples are not equally many batches for each of {num_replicas} processes, which sharded "
            f"weights need; got a data.batch_size of {batch_size * num_replicas}; write another, at least "
            f"{2 * num_replicas}"
        )
    return num_batches


def sampling_weights(dataset: Dataset[Any], sampling: str) -> np.ndarray:
    """Return how often each training sample comes, shape (N,), for `sampling` "balanced" or "weighted"."""
    name = "targets" if sampling == "balanced" else "weights"
    values = classes_of(dataset) if sampling == "balanced" else column(dataset, "weights")
    if values is None:
        raise UsageError(f"data.sampling is {sampling}, but the data has no {name} to go by; write shuffle")
    return balanced_weights(values) if sampling == "balanced" else values


def balanced_weights(targets: np.ndarray) -> np.ndarray:
    """Return weights, shape (N,), with which every class among `targets`, shape (N,), comes equally often."""
    _, classes, counts = np.unique(targets, return_inverse=True, return_counts=True)
    return 1.0 / counts[classes]


def draw(weights: np.ndarray, order: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw as many samples as there are, each as often as its weight says, rounded up or down at random.

    Systematic sampling: equally spaced marks on the cumulated weights. It varies less than independent draws.
    """
    ends = np.cumsum(weights[order], dtype=np.float64)
    marks = (np.arange(len(order)) + random.random()) * (ends[-1] / len(order))
    places = np.minimum(np.searchsorted(ends, marks, side="right"), len(order) - 1)
    return random.permutation(order[places])
