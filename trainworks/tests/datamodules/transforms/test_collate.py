import subprocess
import sys

import pytest
import torch

from trainworks.datamodules.samplers import collate
from trainworks.datamodules.transforms import KeepLists, PadSequences
from trainworks.tests.conftest import ROOT

SAMPLES = [(torch.tensor([1, 2, 3]), 0), (torch.tensor([4]), 1)]


def test_a_batch_stays_and_samples_are_stacked() -> None:
    batch = torch.zeros(2, 3), torch.zeros(2)
    assert collate(batch) is batch
    inputs, targets = collate([(torch.zeros(3), 1), (torch.ones(3), 2)])
    assert (inputs.tolist(), targets.tolist()) == ([[0, 0, 0], [1, 1, 1]], [1, 2])


def test_samples_of_different_size_name_the_way_out() -> None:
    with pytest.raises(ValueError, match=r"differ in size \(got \[3\] at entry 0 and .*; set data.image_size, or"):
        collate(SAMPLES)


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
