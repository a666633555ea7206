import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes

from src.datamodules.diabetes import DiabetesDataModule


def test_442_patients_in_three_parts() -> None:
    data = DiabetesDataModule()
    data.setup("fit")
    sizes = {name: tuple(split.inputs.shape) for name, split in data.splits.items()}  # type: ignore[attr-defined]
    assert sizes == {"train": (319, 10), "val": (35, 10), "test": (88, 10)}
    every = np.concatenate([split.targets.numpy() for split in data.splits.values()])  # type: ignore[attr-defined]
    assert sorted(every) == sorted(load_diabetes().target)


def test_facts_are_those_of_the_training_samples() -> None:
    for arguments in ({"split_seed": 0}, {"split_seed": 3}, {"num_folds": 5, "fold": 2}):
        data = DiabetesDataModule(**arguments)  # type: ignore[arg-type]
        data.setup("fit")
        targets: torch.Tensor = data.splits["train"].targets  # type: ignore[attr-defined]
        facts = data.facts()
        assert (facts["num_features"], facts["num_targets"]) == (10, 1)
        assert facts["target_mean"] == pytest.approx([targets.mean().item()], rel=1e-5)
        assert facts["target_std"] == pytest.approx([targets.std(correction=0).item()], rel=1e-5)
