from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from src.datamodules.digits import DigitsDataModule
from trainworks import ArrayDataset


@dataclass(kw_only=True, eq=False, repr=False)
class DigitPairsDataModule(DigitsDataModule):
    """Two of scikit-learn's digits side by side, grey, 8x16 pixels; the labels are the digits that an image shows.

    The digits are divided into splits first, so that no digit is in two of them.

    Args:
        pairs_per_digit: Number of pairs for each digit of a split, at least 1.
    """

    pairs_per_digit: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(pairs_per_digit=1)

    def divide(self, loaded: dict[str, Any]) -> dict[str, Any]:
        """Divide the digits, then pair them within each split."""
        splits: dict[str, Any] = super().divide(loaded)
        return {name: self._pair(digits) for name, digits in splits.items()}

    def _pair(self, digits: ArrayDataset) -> ArrayDataset:
        """Return images of shape (N, 1, 8, 16) and targets of shape (N, 10), 1 for the digits that are shown."""
        draw = np.random.default_rng(0).integers(len(digits), size=(2, self.pairs_per_digit * len(digits)))
        left, right = (torch.from_numpy(indices) for indices in draw)
        present: Tensor = one_hot(digits.targets[left], 10) | one_hot(digits.targets[right], 10)
        images = torch.cat([digits.inputs[left], digits.inputs[right]], dim=-1)
        return ArrayDataset(images, present.float(), classes=[str(digit) for digit in range(10)])
