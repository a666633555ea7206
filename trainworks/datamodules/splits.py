"""Which sample belongs to training, validation and test."""

import re
from collections.abc import Sized
from typing import Any

import numpy as np
from torch.utils.data import Dataset, IterableDataset, Subset

Splits = dict[str, Dataset[Any]]

SPLITS = ("train", "val", "test", "predict")
SHOWN_CLASSES = 20
TEST_SEED = 0  # fixed: whatever the seeds of a run, nothing is ever trained or tuned on test samples


def divide(
    loaded: Splits, val_fraction: float, test_fraction: float, seed: int, num_folds: int | None, fold: int
) -> Splits:
    """Make the splits that are missing from those that are there; see `BaseDataModule` for the arguments."""
    splits = dict(loaded)
    if unknown := [name for name in loaded if not re.fullmatch("all|train|predict|(val|test)(/.+)?", name)]:
        known = "all, train, val, test or predict; further sets are called like val/noisy and test/noisy"
        raise ValueError(f"load_splits() returns a split '{unknown[0]}'; a split is called {known}")
    has_val = any(name.partition("/")[0] == "val" for name in splits)
    if "all" in splits:
        whole = splits.pop("all")
        has_test = any(name.partition("/")[0] == "test" for name in splits)
        rest, test = split_off(whole, 0.0 if has_test else test_fraction, TEST_SEED)
        splits["train"] = subset(whole, rest)
        if len(test):
            splits["test"] = subset(whole, test)
    train = splits.get("train")
    if train is None:
        return splits
    if num_folds is not None and has_val:
        raise ValueError("data.num_folds divides the training samples, but the data has a validation split of its own")
    if not has_val and not isinstance(train, IterableDataset):
        if num_folds is None:
            rest, val = split_off(train, val_fraction, seed)
        else:
            from trainworks.datamodules.folds import fold_off

            rest, val = fold_off(train, num_folds, fold, seed)
        if len(val):
            splits |= {"train": subset(train, rest), "val": subset(train, val)}
    order = sorted(splits, key=lambda name: (SPLITS.index(name.partition("/")[0]), "/" in name))
    return {name: splits[name] for name in order}


def describe(splits: dict[str, Dataset[Any]], counts: dict[str, int]) -> str:
    """Say how many samples each split has, and how many training samples each class."""
    lengths = {name: f"{len(split):,}" if isinstance(split, Sized) else "(no length)" for name, split in splits.items()}
    sizes = ", ".join(f"{name} {length}" for name, length in lengths.items())
    if not counts:
        return f"data: {sizes}"
    shown = ", ".join(f"{name} {count:,}" for name, count in counts.items())
    if len(counts) > SHOWN_CLASSES:
        ordered = sorted(counts.values())
        shown = f"{ordered[0]:,} to {ordered[-1]:,} training samples each, median {ordered[len(ordered) // 2]:,}"
    return f"data: {sizes}; {len(counts)} classes: {shown}"


def column(dataset: Dataset[Any], name: str) -> np.ndarray | None:
    """Return what a dataset says of each of its samples, shape (N, ...), or None if it does not say.

    The name is "targets", "groups" or "weights"; a torch Subset is looked into.
    """
    if isinstance(dataset, Subset):
        values = column(dataset.dataset, name)
        return None if values is None else values[np.asarray(dataset.indices)]
    found: Any = getattr(dataset, name, None)
    return None if found is None else np.asarray(found)


def classes_of(dataset: Dataset[Any]) -> np.ndarray | None:
    """Return the class of each sample, shape (N,), or None if the targets are no classes."""
    targets = column(dataset, "targets")
    return targets if targets is not None and targets.ndim == 1 and targets.dtype.kind in "iu" else None


def names_of(dataset: Dataset[Any]) -> list[str] | None:
    """Return the names of a dataset's classes (torchvision calls them `classes`), or None if it has none."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    names: Any = getattr(dataset, "classes", None)
    return [str(name) for name in names] if names else None


def subset(dataset: Dataset[Any], indices: np.ndarray) -> Dataset[Any]:
    """Return the samples at `indices` as a dataset of their own, without copying them."""
    own = getattr(dataset, "subset", None)
    return own(indices) if own is not None else Subset(dataset, indices)  # type: ignore[arg-type]


def split_off(dataset: Dataset[Any], fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split samples in two, at random, with the same share of every class on both sides and no group on both.

    `fraction` is the share of the second part, in [0, 1); the indices of both are sorted.
    """
    if column(dataset, "groups") is not None and fraction > 0:
        from trainworks.datamodules.folds import fold_off

        return fold_off(dataset, max(round(1 / fraction), 2), 0, seed)
    grouped = by_class(dataset, seed)
    steps = np.floor(np.arange(len(grouped) + 1) * fraction + 0.5)  # where it rises, a sample goes to the second part
    chosen = np.diff(steps) > 0
    return np.sort(grouped[~chosen]), np.sort(grouped[chosen])


def by_class(dataset: Dataset[Any], seed: int) -> np.ndarray:
    """Return all indices in random order, those of one class beside each other."""
    shuffled = np.random.default_rng(seed).permutation(len(dataset))  # type: ignore[arg-type]
    classes = classes_of(dataset)
    return shuffled if classes is None else shuffled[np.argsort(classes[shuffled], kind="stable")]


def check_splits(splits: dict[str, Dataset[Any]], num_classes: int | None, num_processes: int) -> None:
    """Look whether every process has samples of every split, and all splits number their classes alike."""
    train = names_of(splits["train"]) if "train" in splits else None
    for name, dataset in splits.items():
        if isinstance(dataset, Sized) and len(dataset) < num_processes:
            wanted = f"needs at least {num_processes}, one for each process; add some or leave it out"
            raise ValueError(f"the {name} split has {len(dataset)} samples and {wanted}")
        if train is not None and (own := names_of(dataset) or train) != train:
            raise ValueError(f"the {name} split numbers its classes otherwise than train: {own}, not {train}")
        if num_classes is not None and (targets := classes_of(dataset)) is not None and len(targets):
            check_labels(targets, num_classes)


def check_labels(targets: np.ndarray, num_classes: int) -> None:
    """Compare the labels with the stated number of classes; one out of range is a ValueError."""
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= num_classes:
        raise ValueError(f"data.num_classes is {num_classes}, but the labels go from {low} to {high}; write {high + 1}")
