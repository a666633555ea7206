from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from trainworks.datamodules.datasets import ArrayDataset, KeyedDataset


class Noise(Dataset[tuple[float, float, int]]):
    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[float, float, int]:
        return float(torch.rand(1)), float(np.random.rand()), index


def test_a_sample_draws_from_seed_epoch_and_index_alone() -> None:
    dataset = KeyedDataset(Noise(), seed=1)
    together = dataset.__getitems__(np.array([3, 4, 13]))
    assert [sample[2] for sample in together] == [3, 4, 3]
    assert dataset.__getitems__([4])[0] == together[1]
    assert together[0] != together[2]  # another epoch
    assert KeyedDataset(Noise(), seed=2).__getitems__([3])[0] != together[0]


@pytest.mark.parametrize("num_workers", [1, 2])
def test_augmentation_does_not_depend_on_the_number_of_workers(num_workers: int) -> None:
    def load(workers: int) -> list[Any]:
        batches = [np.arange(30, 35), np.arange(35, 40)]
        return list(DataLoader(KeyedDataset(Noise(), 0), batch_sampler=batches, num_workers=workers))  # type: ignore

    for alone, shared in zip(load(0), load(num_workers), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(alone, shared, strict=True))


def test_reading_samples_leaves_the_training_generators_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    KeyedDataset(Noise(), 0).__getitems__([1, 2, 3])
    assert torch.rand(1) == expected


def test_arrays_serve_the_batch_itself() -> None:
    dataset = KeyedDataset(ArrayDataset(torch.arange(10), torch.arange(10) * 2), seed=0)
    inputs, targets = dataset.__getitems__(np.array([1, 21, 39]))
    assert (inputs.tolist(), targets.tolist()) == ([1, 1, 9], [2, 2, 18])
