from typing import Any

import pytest
import torch

from src.datamodules.digit_pairs import DigitPairsDataModule
from src.datamodules.digits import DigitsDataModule


def load(kind: type, **arguments: Any) -> dict[str, Any]:
    data = kind(**arguments)
    data.setup("fit")
    return dict(data.splits)


def test_each_half_is_a_digit_of_the_same_split_and_the_targets_say_which() -> None:
    digits, pairs = load(DigitsDataModule), load(DigitPairsDataModule, pairs_per_digit=2)
    shapes = {name: tuple(split.inputs.shape) for name, split in pairs.items()}
    assert shapes == {"train": (2588, 1, 8, 16), "val": (288, 1, 8, 16), "test": (718, 1, 8, 16)}
    for name, split in pairs.items():
        every = zip(digits[name].inputs, digits[name].targets.tolist(), strict=True)
        known = {image.numpy().tobytes(): digit for image, digit in every}
        for image, targets in list(zip(split.inputs, split.targets, strict=True))[:100]:
            halves = [half.contiguous().numpy().tobytes() for half in (image[..., :8], image[..., 8:])]
            assert {known[half] for half in halves} == set(targets.nonzero()[:, 0].tolist())
    assert pairs["train"].targets.dtype == torch.float32
    assert pairs["test"].classes == list("0123456789")


def test_the_pairs_are_the_same_each_time_and_folds_work() -> None:
    assert torch.equal(load(DigitPairsDataModule)["val"].inputs, load(DigitPairsDataModule)["val"].inputs)
    assert len(load(DigitPairsDataModule, num_folds=3, fold=1)["val"]) == 4 * 479
    with pytest.raises(ValueError, match=r"data.pairs_per_digit must be at least 1, got 0"):
        DigitPairsDataModule(pairs_per_digit=0)
