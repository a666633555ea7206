import warnings
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from trainworks.datamodules.annotations import classes_of, column, shuffled_by_class


def fold_off(dataset: Dataset[Any], num_folds: int, fold: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split off one of `num_folds` equal parts, as `split_off` does; together the folds hold every sample once."""
    groups = column(dataset, "groups")
    count = len(dataset) if groups is None else len(np.unique(groups))  # type: ignore[arg-type]
    if count < num_folds:
        kind = "samples" if groups is None else "groups"
        raise ValueError(f"the data has {count} {kind}, too few to make {num_folds} parts; ask for fewer or for none")
    if groups is None:
        ordered = shuffled_by_class(dataset, seed)
        chosen = np.arange(len(ordered)) % num_folds == fold
        return np.sort(ordered[~chosen]), np.sort(ordered[chosen])
    from sklearn.model_selection import StratifiedGroupKFold  # takes a second to import, and few data have groups

    classes = classes_of(dataset)
    classes = np.zeros(len(groups), dtype=np.int64) if classes is None else classes
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # a class with fewer samples than folds
        folds = list(StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed).split(classes, classes, groups))
    return folds[fold]
