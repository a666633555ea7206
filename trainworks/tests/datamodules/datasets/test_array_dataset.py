import numpy as np
import pytest
import torch

from trainworks.datamodules.datasets import ArrayDataset
from trainworks.datamodules.datasets.file_index import pack_names


def make_dataset() -> ArrayDataset:
    names = pack_names(["a", "ü b", "c", "d"])
    return ArrayDataset(torch.arange(4), torch.arange(4) * 10, np.array(list("xxyz")), np.arange(4.0), names, ["k"])


def test_a_subset_of_a_subset_shares_everything_but_indices() -> None:
    whole = make_dataset()
    part = whole.subset(np.array([3, 1, 2])).subset(np.array([1, 0]))
    assert len(part) == 2
    assert (part.inputs.tolist(), part.targets.tolist()) == ([1, 3], [10, 30])
    assert part.groups is not None and part.groups.tolist() == ["x", "z"]
    assert part.weights is not None and part.weights.tolist() == [1.0, 3.0]
    assert [part.name(0), part.name(1), part.classes] == ["ü b", "d", ["k"]]
    assert part[0] == (1, 10)
    assert part.__getitems__([1, 0])[0].tolist() == [3, 1]
    whole.inputs[1] = 99
    assert part[0][0] == 99  # no copy


def test_other_inputs_for_the_same_samples() -> None:
    part = make_dataset().subset(np.array([2, 0])).with_inputs(torch.tensor([[7.0], [8.0]]))
    assert (part.inputs.tolist(), part.targets.tolist(), part.name(0)) == ([[7.0], [8.0]], [20, 0], "c")


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="inputs and weights must have one length, got 2 and 3"):
        ArrayDataset(torch.zeros(2), torch.zeros(2), weights=np.zeros(3))
