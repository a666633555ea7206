import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from trainworks.datamodules.datasets import ArrayDataset
from trainworks.datamodules.splits import check_labels, check_splits, divide, fold_off, split_off


def make_dataset(targets: Any, groups: Any = None) -> ArrayDataset:
    targets = torch.as_tensor(targets)
    return ArrayDataset(torch.arange(len(targets)), targets, groups)


def test_split_is_stratified_deterministic_and_disjoint() -> None:
    targets = np.repeat([0, 1, 2], [100, 50, 10])
    first, second = split_off(make_dataset(targets), 0.2, seed=3)
    assert np.bincount(targets[second]).tolist() == [20, 10, 2]
    assert sorted([*first, *second]) == list(range(160))
    assert np.array_equal(split_off(make_dataset(targets), 0.2, seed=3)[1], second)
    assert not np.array_equal(split_off(make_dataset(targets), 0.2, seed=4)[1], second)


@pytest.mark.parametrize("grouped", [False, True])
def test_folds_hold_every_sample_once_and_every_class_alike(grouped: bool) -> None:
    targets = np.repeat([0, 1, 2], [100, 50, 12])
    groups = np.arange(162) // 2 if grouped else None  # pairs of one class
    seen = []
    for fold in range(5):
        rest, held_out = fold_off(make_dataset(targets, groups), 5, fold, seed=1)
        assert not set(rest) & set(held_out)
        assert len(rest) + len(held_out) == 162
        assert np.bincount(targets[held_out], minlength=3).tolist() == pytest.approx([20, 10, 2.4], abs=2.1)
        if groups is not None:
            assert not set(groups[rest]) & set(groups[held_out])
        seen += held_out.tolist()
    assert sorted(seen) == list(range(162))


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.4])
def test_no_group_is_on_both_sides_of_a_split(fraction: float) -> None:
    patients = np.random.default_rng(0).integers(0, 40, 400)
    targets = np.random.default_rng(1).integers(0, 3, 400)
    rest, val = split_off(make_dataset(targets, patients), fraction, seed=0)
    assert not set(patients[rest]) & set(patients[val])
    assert len(val) / 400 == pytest.approx(1 / round(1 / fraction), abs=0.1)


def test_texts_are_groups_too() -> None:
    groups = np.array(["anna", "ben", "cleo", "ben", "anna", "dora"])
    rest, held_out = fold_off(make_dataset([0, 1, 0, 1, 0, 1], groups), 2, 0, seed=0)
    assert not set(groups[rest]) & set(groups[held_out])


def test_too_few_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="the data has 2 groups, too few to make 5 parts"):
        fold_off(make_dataset([0, 1, 0, 1], np.array([0, 0, 1, 1])), 5, 0, seed=0)


def test_values_are_split_without_classes() -> None:
    rest, val = split_off(make_dataset(torch.rand(50)), 0.2, seed=0)
    assert (len(rest), len(val)) == (40, 10)


def sizes(loaded: dict[str, Dataset[Any]], **options: Any) -> dict[str, int]:
    usual = {"val_fraction": 0.25, "test_fraction": 0.2, "seed": 0, "num_folds": None, "fold": 0}
    return {name: len(split) for name, split in divide(loaded, **usual | options).items()}  # type: ignore


@pytest.mark.parametrize(
    ("given", "options", "expected"),
    [
        (["all"], {}, {"train": 60, "val": 20, "test": 20}),
        (["all"], {"num_folds": 4}, {"train": 60, "val": 20, "test": 20}),
        (["all"], {"test_fraction": 0.0, "val_fraction": 0.0}, {"train": 100}),
        (["train"], {}, {"train": 75, "val": 25}),
        (["train", "test"], {}, {"train": 75, "val": 25, "test": 100}),
        (["train", "val"], {}, {"train": 100, "val": 100}),
        (["test", "train", "val"], {}, {"train": 100, "val": 100, "test": 100}),
        (["predict"], {}, {"predict": 100}),
        (
            ["test/b", "val/b", "predict", "val/a", "train", "val", "test/a"],
            {},
            dict.fromkeys(["train", "val", "val/b", "val/a", "test/b", "test/a", "predict"], 100),
        ),
        (["val/a", "train"], {}, {"train": 100, "val/a": 100}),
        (["all", "test/a"], {"val_fraction": 0.1, "test_fraction": 0.2}, {"train": 90, "val": 10, "test/a": 100}),
    ],
)
def test_missing_splits_come_from_what_is_there(
    given: list[str], options: dict[str, Any], expected: dict[str, int]
) -> None:
    result = sizes({name: make_dataset(np.arange(100) % 2) for name in given}, **options)
    assert list(result.items()) == list(expected.items())


def test_folds_and_seeds_leave_the_test_split_alone() -> None:
    tests = []
    for seed, fold in ((0, 0), (1, 0), (1, 3)):
        splits = divide({"all": make_dataset(np.arange(100) % 2)}, 0.25, 0.2, seed, 4, fold)
        tests.append(splits["test"].inputs.tolist())  # type: ignore[attr-defined]
    assert tests[0] == tests[1] == tests[2]


def test_a_dataset_gets_integers_of_python_and_its_split_goes_to_workers() -> None:
    class Strict(Dataset[int]):
        def __len__(self) -> int:
            return 10

        def __getitem__(self, index: int) -> int:
            return torch.Generator().manual_seed(index).initial_seed()  # takes no integers of NumPy

    train: Any = divide({"train": Strict()}, 0.2, 0.0, 0, None, 0)["train"]
    assert sorted(train[k] for k in range(8)) == sorted(train.__getitems__(list(range(8)))) == sorted(train.indices)
    assert pickle.loads(pickle.dumps(train.indices)) == train.indices


def test_folds_of_data_that_brings_a_validation_split_are_refused() -> None:
    with pytest.raises(ValueError, match="the data has a validation split of its own"):
        sizes({name: make_dataset([0, 1]) for name in ("train", "val")}, num_folds=2)


@pytest.mark.parametrize("name", ["noisy", "train/a", "val/", "validation", "predict/a"])
def test_a_split_of_another_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"a split '{name}'; a split is called all, train, val, test or predict"):
        sizes({"train": make_dataset([0, 1]), name: make_dataset([0, 1])})


def test_every_process_needs_samples_whose_classes_have_the_same_numbers() -> None:
    two, other = (ArrayDataset(torch.zeros(2), torch.arange(2), classes=names) for names in (["a", "b"], ["b", "c"]))
    check_splits({"train": two, "test": two, "test/a": make_dataset([1])}, 2, 1)
    for split, processes, message in (
        (make_dataset([]), 1, "the val/a split has 0 samples and needs at least 1, one for each process"),
        (make_dataset([1]), 2, "the val/a split has 1 samples and needs at least 2, one for each process"),
        (other, 1, r"the val/a split numbers its classes otherwise than train: \['b', 'c'\], not \['a', 'b'\]"),
        (make_dataset([5]), 1, "data.num_classes is 2, but the labels go from 5 to 5"),
    ):
        with pytest.raises(ValueError, match=message):
            check_splits({"train": two, "val/a": split}, 2, processes)


def test_labels_must_fit_the_number_of_classes() -> None:
    check_labels(np.array([0, 4]), 5)
    with pytest.raises(ValueError, match=r"num_classes is 4, but the labels go from 0 to 4; write 5"):
        check_labels(np.array([0, 4]), 4)


class Named(Dataset[Any]):
    subset = "clean"  # as some datasets call the part of the data that they are

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> int:
        return index


def test_a_dataset_whose_subset_is_a_name() -> None:
    splits = divide({"train": Named()}, 0.1, 0.1, 0, None, 0)
    assert {splits[name][i] for name, count in (("train", 18), ("val", 2)) for i in range(count)} == set(range(20))
