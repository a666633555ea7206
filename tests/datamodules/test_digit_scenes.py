from typing import Any

import numpy as np
import pytest
import torch

from src.datamodules import digit_scenes
from src.datamodules.datasets.box_dataset import BoxDataset
from src.datamodules.digit_scenes import DigitScenesDataModule
from src.datamodules.digits import DigitsDataModule
from trainworks.datamodules.datasets import ArrayDataset

FEW = {"num_train": 30, "num_val": 20, "num_test": 10}


def load(targets: Any = "masks", **arguments: Any) -> DigitScenesDataModule:
    data = DigitScenesDataModule(targets=targets, **FEW | arguments)
    data.load()
    return data


def test_masks_and_boxes_belong_to_the_same_scenes() -> None:
    masks, boxes = load("masks", batch_size=10), load("boxes", batch_size=10)
    assert isinstance(masks.splits["val"], ArrayDataset) and isinstance(boxes.splits["val"], BoxDataset)
    (images, classes), (same, targets) = next(iter(masks.val_dataloader())), next(iter(boxes.val_dataloader()))
    assert (images.shape, images.dtype) == ((10, 3, 64, 64), torch.uint8)
    assert torch.equal(images, same)
    for mask, target in zip(classes, targets, strict=True):
        assert set(mask.unique().tolist()) - {0} == set(target["labels"].tolist())
    assert masks.val_dataloader().num_workers == boxes.val_dataloader().num_workers == 0  # memory is faster without
    assert masks.describe() == boxes.describe()
    assert masks.describe().startswith("data: train 30, val 20, test 10; 11 classes: background 30, '0' ")
    assert masks.class_names == list(masks.class_counts)


def test_no_digit_is_in_two_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    used = []
    original = digit_scenes.compose_scenes

    def spy(digits: np.ndarray, classes: np.ndarray, *words: Any) -> Any:
        used.append((digits, classes))
        return original(digits, classes, *words)

    monkeypatch.setattr(digit_scenes, "compose_scenes", spy)
    load()
    whole = DigitsDataModule()
    whole.load()
    for (digits, classes), split in zip(used, whole.splits.values(), strict=True):
        assert np.array_equal(digits, split.inputs[:, 0])  # type: ignore[attr-defined]
        assert np.array_equal(classes, split.targets)  # type: ignore[attr-defined]


def test_what_changes_the_scenes() -> None:
    first, again, other, split = load(), load(), load(scene_seed=1), load(split_seed=1)
    for name in FEW:
        images = [data.splits[name[4:]].inputs for data in (first, again, other, split)]  # type: ignore[attr-defined]
        assert torch.equal(images[0], images[1])
        assert not torch.equal(images[0], images[2])
        assert torch.equal(images[0], images[3]) is (name == "num_test")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 20}, "data.image_size must be at least 30, got 20"),
        ({"max_digits": 0}, "data.max_digits must be at least 1, got 0"),
        ({"num_classes": 10}, "data.num_classes must be 11, background and digits, got 10"),
        ({"val_fraction": 0.0}, "data.val_fraction leaves no digits for val scenes, got 0.0"),
        ({"num_folds": 3}, "the data has a validation split of its own"),
    ],
)
def test_impossible_settings(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(**arguments)
