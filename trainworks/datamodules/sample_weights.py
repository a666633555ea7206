"""How often each sample is drawn in an epoch, where it is not exactly once."""

from typing import Any

import numpy as np
from torch.utils.data import Dataset

from trainworks.datamodules.annotations import classes_of, column
from trainworks.errors import UsageError


def sampling_weights(dataset: Dataset[Any], sampling: str) -> np.ndarray:
    """Return the relative frequency of each training sample, shape (N,), for `sampling` "balanced" or "weighted"."""
    balanced = sampling == "balanced"
    values = classes_of(dataset) if balanced else column(dataset, "weights")
    if values is not None and balanced:
        return balanced_weights(values)
    if values is not None:
        if len(wrong := values[~(np.isfinite(values) & (values >= 0))]) or not values.sum():
            got = f"got {wrong[0]:g}" if len(wrong) else "all are 0"
            raise UsageError(f"data.sampling is weighted, and weights must be at least 0 and not all 0; {got}")
        return values
    if not balanced:
        raise UsageError("data.sampling is weighted, but the data has no weights; write shuffle, or add weights")
    targets, how = column(dataset, "targets"), "write shuffle"
    got = "the dataset has no attribute targets" if targets is None else f"got {targets.dtype} {targets.shape}"
    if targets is not None and targets.ndim == 2:
        how = "several labels a sample are balanced by pos_weight of the loss: write shuffle, or weighted and weights"
    raise UsageError(f"data.sampling balanced needs one class a sample, targets of integers from 0; {got}; {how}")


def balanced_weights(targets: np.ndarray) -> np.ndarray:
    """Return weights, shape (N,), with which every class of `targets`, shape (N,), is drawn equally often."""
    _, classes, counts = np.unique(targets, return_inverse=True, return_counts=True)
    return 1.0 / counts[classes]


def systematic_sample(weights: np.ndarray, order: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw as many samples as there are, each as often as its weight says, rounded up or down at random.

    Systematic sampling takes equally spaced points of the cumulative weights. It varies less than independent draws.
    """
    cumulative = np.cumsum(weights[order], dtype=np.float64)
    points = (np.arange(len(order)) + random.random()) * (cumulative[-1] / len(order))
    chosen = np.minimum(np.searchsorted(cumulative, points, side="right"), len(order) - 1)
    return random.permutation(order[chosen])
