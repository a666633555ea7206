"""What is known of a dataset's samples without reading them: classes, groups, weights, and the classes' names."""

import contextlib
from typing import Any

import numpy as np
from torch.utils.data import Dataset, Subset

IGNORED_CLASS = 255  # of pixels that usually count for nothing: `ignore_index` of losses and metrics


def column(dataset: Dataset[Any] | None, name: str) -> np.ndarray | None:
    """Return what a dataset says of each of its samples, shape (N, ...), or None if it does not say.

    The name is "targets", "groups" or "weights"; a torch Subset is looked into.
    """
    if isinstance(dataset, Subset):
        values = column(dataset.dataset, name)
        return None if values is None else values[np.asarray(dataset.indices)]
    values = getattr(dataset, name, None)
    with contextlib.suppress(ValueError):  # lists of different lengths
        return None if values is None else np.asarray(values)
    return None


def classes_of(dataset: Dataset[Any] | None) -> np.ndarray | None:
    """Return the class of each sample, shape (N,), or None if the targets are no classes, as negative numbers."""
    targets = column(dataset, "targets")
    if targets is None or targets.ndim != 1 or targets.dtype.kind not in "iu" or not len(targets):
        return None
    return targets if targets.min() >= 0 else None


def class_names_of(dataset: Dataset[Any] | None) -> list[str] | None:
    """Return the names of a dataset's classes (torchvision calls them `classes`), or None if it has none."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    names: Any = getattr(dataset, "classes", None)
    return [str(name) for name in names] if names else None


def name_of(dataset: Any, index: int) -> str | int:
    """Return the name of a sample, such as its file, else its number in the dataset that a split was made from."""
    if isinstance(dataset, Subset):
        return name_of(dataset.dataset, int(dataset.indices[index]))
    name = dataset.name(index) if callable(getattr(dataset, "name", None)) else None
    return index if name is None else name


def title_of(dataset: Any, index: int) -> str:
    """Return how messages call a sample: by its name, else by its number."""
    name = name_of(dataset, index)
    return name if isinstance(name, str) else f"sample {name}"


def shuffled_by_class(dataset: Dataset[Any], seed: int) -> np.ndarray:
    """Return all indices in random order, those of one class beside each other."""
    shuffled = np.random.default_rng(seed).permutation(len(dataset))  # type: ignore[arg-type]
    classes = classes_of(dataset)
    return shuffled if classes is None else shuffled[np.argsort(classes[shuffled], kind="stable")]
