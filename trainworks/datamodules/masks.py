"""What masks hold: how many pixels have which value, and a line where a training could not learn from them."""

import time
from collections import Counter
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from trainworks.datamodules.annotations import IGNORED_CLASS
from trainworks.datamodules.randomness import kept_generators, seed_sample
from trainworks.errors import listed

MAX_IGNORED_SHARE = 0.9  # of the pixels, above which something is wrong
MAX_MASKS, MAX_SECONDS = 512, 0.05  # that are looked at before a training


def mask_of(image: Any, target: Any) -> np.ndarray | None:
    """Return a mask, shape (H, W), or (C, H, W) where it is none but colours; None for a target of another kind."""
    is_array = isinstance(target, np.ndarray) or hasattr(target, "numpy")
    if not is_array or getattr(image, "ndim", 0) != 3 or target.ndim not in (2, 3):
        return None
    mask = np.asarray(target)
    return mask[0] if mask.ndim == 3 and len(mask) == 1 else mask


def pixels_by_value(mask: np.ndarray) -> Counter[float]:
    """Count the pixels of each value."""
    if mask.dtype == np.uint8:  # a tenth of the time of np.unique
        return Counter({value: count for value, count in enumerate(np.bincount(mask.ravel()).tolist()) if count})
    values, counts = np.unique(mask, return_counts=True)
    return Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))


def describe_masks(train: Dataset[Any], num_classes: int, seed: int) -> str:
    """Say in a line if classes have no pixel in the first training masks, or most are left out; else in none."""
    length, number, pixels, start = len(train), 0, Counter[float](), time.monotonic()  # type: ignore[arg-type]
    with kept_generators():
        while number < min(length, MAX_MASKS) and (number == 0 or time.monotonic() - start < MAX_SECONDS):
            seed_sample(seed, 0, number)
            try:
                mask = mask_of(*train[number])
            except Exception:  # what cannot be read is explained where it is trained on
                mask = None
            if mask is None or mask.ndim == 3:
                return ""
            pixels += pixels_by_value(mask)
            number += 1
    empty = [str(k) for k in range(num_classes) if not pixels[k]]
    empty = empty if number == length or len(empty) >= num_classes - 1 else []  # the rest may hold them
    if not empty and pixels[IGNORED_CLASS] <= MAX_IGNORED_SHARE * pixels.total():
        return ""
    found = listed([f"{value:g} ({count / pixels.total():.1%})" for value, count in pixels.most_common()], 5)
    seen = f"{number:,} training masks" if number == length else f"the first {number:,} of {length:,} training masks"
    found += f", and no pixel of class {listed(empty)}" if empty else ""
    found += f"; {IGNORED_CLASS} usually counts for nothing (ignore_index)" if IGNORED_CLASS in pixels else ""
    return f"\nmasks: {seen} hold {found}"
