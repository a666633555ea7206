"""Labels in columns, several of which a sample may have."""

from typing import Any

import numpy as np
from torch.utils.data import Dataset

from trainworks.datamodules.annotations import column
from trainworks.datamodules.splits import check_labels


def labels_of(dataset: Dataset[Any] | None) -> np.ndarray | None:
    """Return labels, or values, in columns: floats, or integers 0 and 1, shape (N, K); None if there are none."""
    targets = None if dataset is None else column(dataset, "targets")
    if targets is None or targets.ndim != 2:
        return None
    return targets if targets.dtype.kind == "f" or np.isin(targets, (0, 1)).all() else None  # not tokens, for example


def label_facts(train: Dataset[Any], wanted: set[str], names: list[str] | None) -> dict[str, Any]:
    """Return number, weights and names of the labels, if `wanted` has one of them."""
    if (labels := labels_of(train)) is None or not wanted & {"num_classes", "pos_weight"}:
        return {}
    check_labels(labels, labels.shape[1])
    there = labels.sum(axis=0, dtype=np.float64)
    weights = np.maximum(len(labels) - there, 1) / np.maximum(there, 1)
    facts = {"num_classes": labels.shape[1], "pos_weight": weights.round(6).tolist()}
    return facts | ({"class_names": names} if names else {})
