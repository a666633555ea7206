import numpy as np
import pytest
import torch

from src.datamodules import DigitsDataModule
from src.datamodules.base import check_labels, split_off


def test_split_is_stratified_deterministic_and_disjoint() -> None:
    targets = np.repeat([0, 1, 2], [100, 50, 10])
    first, second = split_off(targets, 0.2, seed=3)
    assert np.bincount(targets[second]).tolist() == [20, 10, 2]
    assert sorted([*first, *second]) == list(range(160))
    assert np.array_equal(split_off(targets, 0.2, seed=3)[1], second)
    assert not np.array_equal(split_off(targets, 0.2, seed=4)[1], second)


def test_split_refuses_a_fraction_of_one() -> None:
    with pytest.raises(ValueError, match=r"data.val_fraction must be in \[0, 1\), got 1"):
        split_off(np.zeros(3), 1.0, 0)


def test_labels_must_fit_the_number_of_classes() -> None:
    check_labels(torch.tensor([0, 4]), 5)
    with pytest.raises(ValueError, match=r"num_classes is 4, but the labels go from 0 to 4; write 5"):
        check_labels(torch.tensor([0, 4]), 4)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_batch_comes_whole_and_every_epoch_in_another_order(num_workers: int) -> None:
    data = DigitsDataModule(batch_size=100, num_workers=num_workers)
    data.setup("fit")
    loader = data.train_dataloader()
    epochs = []
    for epoch in range(2):
        loader.batch_sampler.sampler.set_epoch(epoch)  # type: ignore[union-attr]
        batches = list(loader)
        assert len(batches) == len(loader) == 12
        assert {tuple(images.shape) for images, _ in batches} == {(100, 1, 8, 8)}
        assert {(images.dtype, targets.dtype) for images, targets in batches} == {(torch.uint8, torch.int64)}
        epochs.append(torch.cat([targets for _, targets in batches]))
    assert not torch.equal(*epochs)


def test_fewer_samples_than_a_batch_still_train() -> None:
    data = DigitsDataModule(batch_size=4000)
    data.setup("fit")
    ((images, _),) = data.train_dataloader()
    assert len(images) == len(data.splits["train"])  # type: ignore[arg-type]


def test_evaluation_sees_each_sample_once() -> None:
    data = DigitsDataModule(batch_size=100)
    data.setup("test")
    targets = torch.cat([targets for _, targets in data.test_dataloader()])
    assert torch.equal(targets, data.splits["test"].targets)  # type: ignore[attr-defined]


def test_transforms_of_training_and_evaluation_are_apart() -> None:
    class Add(torch.nn.Module):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

        def forward(self, images: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return images + self.number, targets

    class Trainer:
        training = True

    data = DigitsDataModule(train_transform=[Add(1), Add(2)], eval_transform=[Add(10)])
    batch = torch.zeros(2), torch.zeros(2)
    assert data.on_after_batch_transfer(batch, 0)[0].tolist() == [10, 10]
    data.trainer = Trainer()  # type: ignore[assignment]
    assert data.on_after_batch_transfer(batch, 0)[0].tolist() == [3, 3]
