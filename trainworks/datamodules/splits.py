"""Which sample belongs to training, validation and test."""

import re
import warnings
from collections.abc import Sized
from typing import Any

import numpy as np
from torch.utils.data import Dataset, IterableDataset, Subset

from trainworks.datamodules.annotations import class_names_of, classes_of, column

Splits = dict[str, Dataset[Any]]

SPLIT_ORDER = ("train", "val", "test", "predict")
MAX_CLASSES_SHOWN = 20
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
    if train is None:
        return splits
    if num_folds is not None and "val" in stages:
        raise ValueError("data.num_folds divides the training samples, but the data has a validation split of its own")
    if "val" not in stages and not isinstance(train, IterableDataset):
        rest, val = (
            split_off(train, val_fraction, seed) if num_folds is None else fold_off(train, num_folds, fold, seed)
        )
        if len(val):
            splits |= {"train": subset(train, rest), "val": subset(train, val)}
    order = sorted(splits, key=lambda name: (SPLIT_ORDER.index(name.partition("/")[0]), "/" in name))
    return {name: splits[name] for name in order}


def describe(splits: Splits, class_counts: dict[str, int]) -> str:
    """Say how many samples each split has, and how many training samples each class."""
    lengths = {name: f"{len(split):,}" if isinstance(split, Sized) else "(no length)" for name, split in splits.items()}
    sizes = ", ".join(f"{name} {length}" for name, length in lengths.items())
    if not class_counts:
        return f"data: {sizes}"
    shown = ", ".join(f"{name} {count:,}" for name, count in class_counts.items())
    if len(class_counts) > MAX_CLASSES_SHOWN:
        ordered = sorted(class_counts.values())
        shown = f"{ordered[0]:,} to {ordered[-1]:,} training samples each, median {ordered[len(ordered) // 2]:,}"
    return f"data: {sizes}; {len(class_counts)} classes: {shown}"


def subset(dataset: Dataset[Any], indices: np.ndarray) -> Dataset[Any]:
    """Return the samples at `indices` as a dataset of their own, without copying them."""
    own = getattr(dataset, "subset", None)
    return own(indices) if own is not None else Subset(dataset, indices)  # type: ignore[arg-type]


def split_off(dataset: Dataset[Any], fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split samples in two, at random, with the same share of every class on both sides and no group on both.

    `fraction` is the share of the second part, in [0, 1); the indices of both are sorted.
    """
    if column(dataset, "groups") is not None and fraction > 0:
        return fold_off(dataset, max(round(1 / fraction), 2), 0, seed)
    ordered = shuffled_by_class(dataset, seed)
    steps = np.floor(np.arange(len(ordered) + 1) * fraction + 0.5)  # where it rises, a sample goes to the second part
    chosen = np.diff(steps) > 0
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


def shuffled_by_class(dataset: Dataset[Any], seed: int) -> np.ndarray:
    """Return all indices in random order, those of one class beside each other."""
    shuffled = np.random.default_rng(seed).permutation(len(dataset))  # type: ignore[arg-type]
    classes = classes_of(dataset)
    return shuffled if classes is None else shuffled[np.argsort(classes[shuffled], kind="stable")]


def check_splits(splits: Splits, num_classes: int | None, world_size: int) -> None:
    """Check that every process gets samples of every split, and that all splits number their classes alike."""
    expected = class_names_of(splits["train"]) if "train" in splits else None
    for name, dataset in splits.items():
        if isinstance(dataset, Sized) and len(dataset) < world_size:
            wanted = f"needs at least {world_size}, one for each process; add some or leave it out"
            raise ValueError(f"the {name} split has {len(dataset)} samples and {wanted}")
        if expected is not None and (names := class_names_of(dataset) or expected) != expected:
            raise ValueError(f"the {name} split numbers its classes otherwise than train: {names}, not {expected}")
        if num_classes is not None and (targets := classes_of(dataset)) is not None and len(targets):
            check_labels(targets, num_classes)


def check_labels(targets: np.ndarray, num_classes: int) -> None:
    """Compare the labels with the stated number of classes; one out of range is a ValueError."""
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= num_classes:
        raise ValueError(f"data.num_classes is {num_classes}, but the labels go from {low} to {high}; write {high + 1}")
