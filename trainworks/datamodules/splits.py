"""Which sample belongs to training, validation and test."""

import re
import warnings
from array import array
from collections.abc import Sized
from typing import Any

import numpy as np
from torch.utils.data import Dataset, IterableDataset, Subset

from trainworks.datamodules.annotations import class_names_of, classes_of, column, shuffled_by_class

Splits = dict[str, Dataset[Any]]

SPLIT_ORDER = ("train", "val", "test", "predict")
TEST_SEED = 0  # fixed: whatever the seeds of a run, nothing is ever trained or tuned on test samples


def divide(
    loaded: Splits, val_fraction: float, test_fraction: float, seed: int, num_folds: int | None, fold: int
) -> Splits:
    """Make the splits that are missing from those that are there; see `BaseDataModule` for the arguments."""
    splits = dict(loaded)
    if unknown := [name for name in loaded if not re.fullmatch("all|train|predict|(val|test)(/.+)?", name)]:
        known = "all, train, val, test or predict; further sets are called like val/noisy and test/noisy"
        raise ValueError(f"load_splits() returns a split '{unknown[0]}'; a split is called {known}")
    stages = {name.partition("/")[0] for name in splits}
    if "all" in splits:
        whole = splits.pop("all")
        rest, test = split_off(whole, 0.0 if "test" in stages else test_fraction, TEST_SEED)
        splits["train"] = subset(whole, rest)
        if len(test):
            splits["test"] = subset(whole, test)
    train = splits.get("train")
    if train is not None and num_folds is not None and "val" in stages:
        raise ValueError("data.num_folds divides the training samples, but the data has a validation split of its own")
    if train is not None and "val" not in stages and not isinstance(train, IterableDataset):
        rest, val = split_off(train, val_fraction, seed, num_folds, fold)
        if not len(rest):
            raise ValueError(f"data.val_fraction {val_fraction} leaves none of {len(val)} samples for training")
        if len(val):
            splits |= {"train": subset(train, rest), "val": subset(train, val)}
    order = sorted(splits, key=lambda name: (SPLIT_ORDER.index(name.partition("/")[0]), "/" in name))
    return {name: splits[name] for name in order}


def subset(dataset: Dataset[Any], indices: np.ndarray) -> Dataset[Any]:
    """Return the samples at `indices` as a dataset of their own, without copying them."""
    if callable(own := getattr(dataset, "subset", None)):  # in some datasets it is a name
        return own(indices)
    integers = array("q", indices.astype(np.int64).tobytes())  # gives Python's integers, as datasets expect
    return Subset(dataset, integers)


def split_off(
    dataset: Dataset[Any], fraction: float, seed: int, num_folds: int | None = None, fold: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Split samples in two, at random, with the same share of every class on both sides and no group on both.

    The second part is the share `fraction` of the samples, in [0, 1), or one of `num_folds` equal parts. The indices of
    both parts are sorted.
    """
    if num_folds is not None or (fraction > 0 and column(dataset, "groups") is not None):
        return fold_off(dataset, num_folds or max(round(1 / fraction), 2), fold, seed)
    ordered = shuffled_by_class(dataset, seed)
    counts = np.floor(np.arange(len(ordered) + 1) * fraction + 0.5)  # of the second part among the first 0, 1, 2, ...
    chosen = np.diff(counts) > 0
    return np.sort(ordered[~chosen]), np.sort(ordered[chosen])


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


def check_splits(splits: Splits, num_classes: int | None, world_size: int) -> None:
    """Check that every process gets samples of every split, and that all splits number their classes alike."""
    expected = class_names_of(splits.get("train"))
    for name, dataset in splits.items():
        if isinstance(dataset, Sized) and len(dataset) < world_size:
            wanted = f"needs at least {world_size}, one for each process; add some or leave it out"
            raise ValueError(f"the {name} split has {len(dataset)} samples and {wanted}")
        if expected is not None and (names := class_names_of(dataset) or expected) != expected:
            raise ValueError(f"the {name} split numbers its classes otherwise than train: {names}, not {expected}")
        if num_classes is None or (targets := column(dataset, "targets")) is None or not len(targets):
            continue
        if (targets.ndim, targets.dtype.kind) in ((1, "i"), (1, "u"), (2, "f")):
            check_labels(targets, num_classes)


def check_labels(targets: np.ndarray, num_classes: int) -> None:
    """Refuse classes, shape (N,), or labels or shares in [0, 1], shape (N, K), that are out of range."""
    if targets.ndim == 2:
        if targets.shape[1] != num_classes:
            raise ValueError(f"data.num_classes is {num_classes}, but there are {targets.shape[1]} columns of labels")
        if len(wrong := targets[(targets < 0) | (targets > 1) | (targets != targets)]):
            how = "values are for a regressor, as in the template's configs/diabetes.yaml"
            raise ValueError(f"labels in columns must be 0 or 1, or shares in between, got {wrong[0]:g}; {how}")
        return
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= num_classes:
        how = f"write {high + 1}" if low >= 0 else "number the classes from 0"
        raise ValueError(f"data.num_classes is {num_classes}, but the labels go from {low} to {high}; {how}")
