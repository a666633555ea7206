"""What the targets of each split hold and all that is wrong with them, for the command check."""

import re
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import torch

from trainworks.datamodules.annotations import IGNORED_CLASS
from trainworks.datamodules.arrays import CLASS_ARGUMENTS
from trainworks.datamodules.base import BaseDataModule
from trainworks.datamodules.masks import MAX_IGNORED_SHARE, mask_of, pixels_by_value
from trainworks.errors import listed
from trainworks.runs.yaml_files import Config, flatten

MAX_GUESSED = 100  # classes; larger numbers are values, unless the configuration is for classes
NUMBERS = int | float | np.ndarray | np.generic | torch.Tensor


class TargetReport:
    """Counts the targets of each split, sample by sample, and keeps what is wrong with which."""

    def __init__(self, datamodule: BaseDataModule, config: Config, names: list[str]) -> None:
        self.names, self.num_classes = names, datamodule.num_classes or len(names) or None
        self.classifies = datamodule.num_classes is not None or bool(CLASS_ARGUMENTS & datamodule.wanted)
        stated = [str(value) for key, value in flatten(config.get("model")).items() if key.endswith("ignore_index")]
        usual = {-100, IGNORED_CLASS} if (self.num_classes or 0) <= IGNORED_CLASS else {-100}  # -100 is torch's default
        self.ignored = {int(value) for value in stated if re.fullmatch(r"-?\d+", value)} or usual
        self.unit = "class"  # what is counted; samples, if this says no other
        self.counts: dict[str, Counter[float]] = defaultdict(Counter)  # of each class, by split
        self.num_samples: Counter[str] = Counter()
        self.values: set[tuple[float, ...]] = set()  # of training; two that differ are enough
        self.faults: dict[str, list[str]] = defaultdict(list)  # what is wrong, and where

    def look(self, split: str, where: str, image: Any, target: Any) -> None:
        """Look at the target of one sample; `where` is how messages call it."""
        mask = mask_of(image, target) if self.classifies else None
        numbers = np.asarray(target) if isinstance(target, NUMBERS) else None
        self.num_samples[split] += 1
        if mask is not None:
            self._look_at_mask(split, where, image, mask)
        elif isinstance(target, dict) and getattr(image, "ndim", 0) == 3:
            self._look_at_boxes(split, where, image, target)
        elif numbers is None or numbers.ndim > 1:
            return
        elif numbers.ndim == 1 and self.classifies and (numbers.dtype.kind == "f" or len(numbers) == self.num_classes):
            self.unit = "label"
            self.counts[split].update(dict(enumerate((numbers > 0.5).tolist())))
            if len(wrong := numbers[(numbers < 0) | (numbers > 1)]):
                self.faults[f"{split}: labels that are not between 0 and 1"].append(f"{where}: {wrong[0]:g}")
        elif numbers.ndim == 0 and (self.classifies or numbers.dtype.kind in "iub"):
            self._count(split, where, "classes", {numbers.item(): 1})
        elif split == "train" and len(self.values) < 2:
            self.values.add(tuple(numbers.ravel().tolist()))

    def _count(self, split: str, where: str, what: str, counts: dict[Any, int], first: int = 0) -> None:
        """Count classes, and look for numbers that are none."""
        self.counts[split].update(counts)
        last, wanted = (self.num_classes or np.inf) - 1, f"whole numbers from {first}"
        wanted += f" to {last} (num_classes is {self.num_classes})" if self.num_classes else ""
        if wrong := [f"{value:g}" for value in counts if not first <= value <= last or value % 1]:
            self.faults[f"{split}: {what} that are no {wanted}"].append(f"{where}: {listed(wrong, 3)}")

    def _look_at_mask(self, split: str, where: str, image: Any, mask: np.ndarray) -> None:
        self.unit = "pixels of class"
        if mask.ndim == 3:
            if len(mask) != self.num_classes or mask.max() > 1:  # else one mask for each class
                fault = "masks must have the shape (H, W) or (1, H, W); make a class of each colour in the dataset"
                self.faults[f"{split}: {fault}"].append(f"{where}: {mask.shape}")
            return
        if mask.shape != image.shape[-2:]:
            fault, size = "masks of another size than their images", "x".join(map(str, mask.shape))
            self.faults[f"{split}: {fault}"].append(f"{where}: {size}, not {'x'.join(map(str, image.shape[-2:]))}")
        counts = pixels_by_value(mask)
        self.counts[split].update({value: counts.pop(value) for value in self.ignored & counts.keys()})
        self._count(split, where, "values of masks", counts)

    def _look_at_boxes(self, split: str, where: str, image: Any, target: dict[str, Any]) -> None:
        self.unit = "boxes of class"
        boxes, labels = (torch.as_tensor(target.get(name, [])) for name in ("boxes", "labels"))
        if len(boxes) != len(labels):
            raise ValueError(f"{len(boxes)} boxes, but {len(labels)} labels")
        if not len(boxes):
            self.faults[f"{split}: images without boxes"].append(where)
        self._count(split, where, "labels of boxes (0 is the background)", Counter(labels.flatten().tolist()), first=1)
        x1, y1, x2, y2 = boxes.reshape(-1, 4).unbind(1)
        height, width = image.shape[-2:]
        for fault, wrong in {
            "boxes without width or height (a box is x1, y1, x2, y2 with x1 < x2, y1 < y2)": (x1 >= x2) | (y1 >= y2),
            "boxes that reach out of their image": (x1 < 0) | (y1 < 0) | (x2 > width) | (y2 > height),
            "boxes with NaN or infinite corners": ~(x1 + y1 + x2 + y2).isfinite(),
        }.items():
            if wrong.any():
                corners = ", ".join(f"{corner:g}" for corner in boxes[wrong][0].tolist())
                self.faults[f"{split}: {fault}"].append(f"{where}: {corners} in {width}x{height}")

    def finish(self, report: dict[str, list[str]]) -> None:
        """Print how often each class occurs in each split, and add to the report what is wrong."""
        for fault, places in self.faults.items():
            count = f"{len(places):,} of {self.num_samples[fault.partition(':')[0]]:,} samples"
            kind = "notes" if fault.endswith("images without boxes") else "problems"
            report[kind].append(f"{fault}: {listed(places, 3)} ({count})")
        if len(self.values) == 1 and self.num_samples["train"] > 1:
            report["problems"].append(f"train: every target is {listed([f'{value:g}' for value in self.values.pop()])}")
        known = [value for counts in self.counts.values() for value in counts.keys() - self.ignored]
        number = self.num_classes or int(max(known, default=-1)) + 1
        if self.counts["train"] and (self.classifies or number <= MAX_GUESSED):
            self._print([*self.names, *map(str, range(len(self.names), number))], report)

    def _print(self, names: list[str], report: dict[str, list[str]]) -> None:
        """Print the table of classes; a class that never occurs in training is a problem."""
        what, all_counts = self.unit.partition(" ")[0], list(self.counts.values())
        masks, boxes = what == "pixels", what == "boxes"
        rows = [(name, [counts[k] for counts in all_counts]) for k, name in enumerate(names)][boxes:]  # no background
        missing = {"class": "class {} is empty", "label": "label {} never occurs"}.get(what, "class {} has no " + what)
        for name, found in rows:
            if found[0] == 0:  # the numbers of boxes may have gaps, as COCO's have
                is_problem = (self.classifies or self.names) and (any(found) or not boxes)
                report["problems" if is_problem else "notes"].append("train: " + missing.format(name))
        totals = [self.num_samples[k] if what == "label" else counts.total() for k, counts in self.counts.items()]
        if masks:
            rows.append(("left out", [sum(counts[value] for value in self.ignored) for counts in all_counts]))
            self._check_ignored(rows[-1][1], totals, report)
        width = max(map(len, [self.unit, *(name for name, _ in rows)]))
        column = max(10, *(len(split) + 2 for split in self.counts))
        last = "" if masks else "     share of train"
        print(f"\n{self.unit:<{width}}" + "".join(f"{split:>{column}}" for split in self.counts) + last)
        for name, found in rows:
            shares = [count / max(total, 1) for count, total in zip(found, totals, strict=True)]
            cells = [f"{share:.2%}" for share in shares] if masks else [f"{count:,}" for count in found]
            last = "" if masks else f"{shares[0]:>19.1%}"
            print(f"{name:<{width}}" + "".join(f"{cell:>{column}}" for cell in cells) + last)

    def _check_ignored(self, left_out: list[int], totals: list[int], report: dict[str, list[str]]) -> None:
        """Look for masks of which too little counts; both arguments are of the splits."""
        present = set().union(*self.counts.values())
        values = listed([str(value) for value in self.ignored if value in present])
        for split, count, total in zip(self.counts, left_out, totals, strict=True):
            if count > MAX_IGNORED_SHARE * total:
                share = f"{count / total:.1%} of the pixels"
                report["problems"].append(f"{split}: {share} are left out (they are {values})")
        if present == {0, IGNORED_CLASS} and IGNORED_CLASS in self.ignored:
            fault = f"masks hold 0 and {IGNORED_CLASS} alone, and {IGNORED_CLASS} is left out (ignore_index)"
            report["problems"].append(f"{fault}: objects do not count; make them 0 and 1 in the dataset")
