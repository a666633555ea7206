import subprocess
import sys

import pytest
import torch
from torch.utils.data import DataLoader

from trainworks.datamodules.samplers import collate
from trainworks.datamodules.transforms import KeepLists, PadSequences
from trainworks.tests.conftest import ROOT

SAMPLES = [(torch.tensor([1, 2, 3]), 0), (torch.tensor([4]), 1)]


def test_a_batch_stays_and_samples_are_stacked() -> None:
    batch = torch.zeros(2, 3), torch.zeros(2)
    assert collate(batch) is batch
    inputs, targets = collate([(torch.zeros(3), 1), (torch.ones(3), 2)])
    assert (inputs.tolist(), targets.tolist()) == ([[0, 0, 0], [1, 1, 1]], [1, 2])


PADDED = (
    r"samples of one batch differ in size: \(1,\) and \(3,\); write data.collate: \S+\.PadSequences, which pads them"
)


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("num_workers", [0, 1])
def test_samples_of_different_size_name_the_way_out(order: int, num_workers: int) -> None:
    loader = DataLoader(SAMPLES[::order], 2, collate_fn=collate, num_workers=num_workers)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=PADDED):
        next(iter(loader))


def test_what_differs_in_more_than_its_length_is_kept_in_lists() -> None:
    images = [(torch.zeros(3, 8, size), 0) for size in (9, 5, 7)]
    with pytest.raises(
        ValueError, match=r"in size: \(3, 8, 5\) and \(3, 8, 9\); write data.collate: \S+\.KeepLists, which"
    ):
        collate(images)
    with pytest.raises(ValueError, match=r"; write data.image_size or data.collate: \S+\.KeepLists, which keeps them"):
        collate(images, resizes=True)


def test_what_makes_no_batch_is_named() -> None:
    with pytest.raises(ValueError, match=r"a sample holds <class 'NoneType'>, of which no batch can be made; return"):
        collate([(torch.zeros(3), None), (torch.zeros(3), None)])


def test_padding() -> None:
    inputs, targets = PadSequences(value=9)(SAMPLES)
    assert (inputs.tolist(), targets.tolist()) == ([[1, 2, 3], [4, 9, 9]], [0, 1])
    (inputs, lengths), _ = PadSequences(lengths=True)(SAMPLES)
    assert (inputs.tolist(), lengths.tolist()) == ([[1, 2, 3], [4, 0, 0]], [3, 1])


def test_padding_of_targets_that_are_sequences() -> None:
    pairs = [(torch.rand(3, 2), torch.tensor([0, 1, 0])), (torch.rand(1, 2), torch.tensor([1]))]
    inputs, targets = PadSequences()(pairs)
    assert inputs.shape == (2, 3, 2)
    assert targets.tolist() == [[0, 1, 0], [1, -100, -100]]


def test_lists_stay_lists() -> None:
    images, targets = KeepLists()(SAMPLES)
    assert [len(image) for image in images] == [3, 1]
    assert targets == [0, 1]


def test_a_worker_that_is_spawned_imports_no_lightning() -> None:
    names = ("samplers", "randomness", "transforms.collate", "datasets.array_dataset", "datasets.image_dataset")
    files = ", ".join(f"trainworks.datamodules.{name}" for name in names)
    code = f"import sys, {files}; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "'torch'" in done.stdout and "'lightning" not in done.stdout
