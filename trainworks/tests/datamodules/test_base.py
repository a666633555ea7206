from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.plugins.precision import Precision
from torch import Tensor
from torch.utils.data import IterableDataset

from trainworks.datamodules import BaseDataModule
from trainworks.datamodules.datasets import ArrayDataset
from trainworks.datamodules.sample_weights import sampling_weights
from trainworks.tests.examples.digits import DigitsDataModule


def make_trainer(training: bool, rank: int = 0, batch: int = 0) -> Any:
    """What the transfer hook asks a trainer for."""
    eval_loop = SimpleNamespace(batch_progress=SimpleNamespace(current=SimpleNamespace(ready=batch)))
    return SimpleNamespace(
        training=training,
        global_rank=rank,
        strategy=SimpleNamespace(root_device=torch.device("cpu")),
        state=SimpleNamespace(fn=None, stage=SimpleNamespace(value="train" if training else "validate")),
        fit_loop=SimpleNamespace(total_batch_idx=batch - 1, epoch_loop=SimpleNamespace(val_loop=eval_loop)),
        test_loop=eval_loop,
        predict_loop=eval_loop,
        validate_loop=eval_loop,
        precision_plugin=Precision(),
    )


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

    data = DigitsDataModule(train_transform=[Add(1), Add(2)], eval_transform=[Add(10)])
    batch = torch.zeros(2), torch.zeros(2)
    assert data.on_after_batch_transfer(batch, 0)[0].tolist() == [10, 10]
    data.trainer = make_trainer(training=True)
    assert data.on_after_batch_transfer(batch, 0)[0].tolist() == [3, 3]


def test_a_batch_draws_from_seed_rank_and_number_alone() -> None:
    class Draw(torch.nn.Module):
        def forward(self, images: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return torch.rand(4), targets

    data = DigitsDataModule(train_transform=[Draw()], eval_transform=[Draw()])

    def draw(**which: Any) -> list[float]:
        torch.rand(3)  # whatever ran before
        data.trainer = make_trainer(**which)
        numbers: list[float] = data.on_after_batch_transfer((torch.zeros(1), torch.zeros(1)), 0)[0].tolist()
        return numbers

    first = draw(training=True, batch=5)
    assert draw(training=True, batch=5) == first
    others = [{"batch": 6}, {"batch": 5, "rank": 1}, {"batch": 5, "training": False}]
    assert all(draw(**{"training": True, **other}) != first for other in others)
    after_hook = torch.rand(1)
    draw(training=True, batch=5)
    assert torch.rand(1) != after_hook  # the step after the hook draws from the same seed
    draw(training=True, batch=5)
    dropout = torch.rand(1)
    draw(training=True, batch=5)
    assert torch.rand(1) == dropout


def test_balanced_batches_hold_every_class_equally_often() -> None:
    data = RareClass(sampling="balanced", batch_size=90, val_fraction=0.0)
    data.setup("fit")
    targets = torch.cat([targets for _, targets in data.train_dataloader()])
    assert len(targets) == 990
    assert targets.bincount().tolist() == pytest.approx([330, 330, 330], abs=15)
    assert data.facts()["class_weights"] == pytest.approx([1000 / 3 / 900, 1000 / 3 / 90, 1000 / 3 / 10], rel=1e-4)
    with pytest.raises(ValueError, match=r"data.sampling is weighted, but the data has no weights; write shuffle"):
        weighted = RareClass(sampling="weighted")
        weighted.setup("fit")
        weighted.train_dataloader()


UNBALANCED = {  # targets, and what the error says
    "none": (None, "the dataset has no attribute targets; write shuffle"),
    "values": (torch.arange(40) / 7, r"got float32 \(40,\); write shuffle"),
    "masks": (torch.zeros(40, 2, 2).long(), r"got int64 \(40, 2, 2\); write shuffle"),
    "negative": (torch.arange(40) - 3, r"got int64 \(40,\); write shuffle"),
    "labels": (torch.ones(40, 3), r"got float32 \(40, 3\); several labels a sample are balanced by pos_weight of the"),
}


@pytest.mark.parametrize("kind", UNBALANCED)
def test_what_balanced_sampling_needs(kind: str) -> None:
    targets, said = UNBALANCED[kind]
    dataset: Any = SimpleNamespace(targets=targets)
    with pytest.raises(ValueError, match=rf"balanced needs one class a sample, targets of integers from 0; {said}"):
        sampling_weights(dataset, "balanced")


def test_an_iterable_dataset_cannot_be_balanced() -> None:
    data = RareClass(sampling="balanced")
    data.splits = {"train": Counter()}
    with pytest.raises(ValueError, match=r"data.sampling balanced needs a dataset with a length, this one is"):
        data.train_dataloader()


LABELS = {  # targets, and what is told of them
    "lists": ([[0, 1, 1], [1, 0, 1]] * 20, {"num_classes": 3}),
    "bool": (torch.ones(40, 4).bool(), {"num_classes": 4}),
    "floats": (torch.ones(40, 4), {"num_classes": 4}),
    "tokens": (torch.arange(80).reshape(40, 2), {}),
    "lists of different lengths": ([[0], [0, 1]] * 20, {}),
}


@pytest.mark.parametrize("kind", LABELS)
def test_the_number_of_labels_is_known(kind: str) -> None:
    data = RareClass()
    data.wanted = {"num_classes"}
    dataset: Any = SimpleNamespace(targets=LABELS[kind][0])
    facts = data.facts_of(dataset)
    facts.pop("pos_weight", None)
    assert facts == LABELS[kind][1]


class RareClass(BaseDataModule):
    def load_splits(self) -> dict[str, Any]:
        targets = torch.arange(3).repeat_interleave(torch.tensor([900, 90, 10]))
        return {"train": ArrayDataset(torch.zeros(1000, 1), targets)}


def test_what_is_missing_is_not_loaded_but_said() -> None:
    data = RareClass(val_fraction=0.0)
    data.setup("fit")
    assert list(data.splits) == ["train"]
    assert data.val_dataloader() == []
    with pytest.raises(ValueError, match="the data has no test split; it has train"):
        data.test_dataloader()


def test_what_the_data_is_is_said_and_saved() -> None:
    data = RareClass(class_names=["a", "b"], num_classes=4)
    data.setup("fit")
    assert data.describe() == "data: train 900, val 100; 4 classes: a 810, b 81, '2' 9, '3' 0"
    counts = {"a": 810, "b": 81, "2": 9, "3": 0}
    kept = {"class_counts": counts, "class_names": ["a", "b"], "input_shape": [1], "input_dtype": "float32"}
    kept["columns"] = None
    assert data.state_dict() == kept
    many = RareClass(num_classes=21)
    many.setup("fit")
    assert many.describe().endswith("21 classes: 0 to 810 training samples each, median 0")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_folds": 1}, "data.num_folds must be at least 2, got 1"),
        ({"num_folds": 5, "fold": 5}, r"data.fold must be in \[0, 5\), got 5"),
        ({"fold": 1}, r"data.fold must be in \[0, 1\), got 1; see data.num_folds"),
        ({"test_fraction": 1.0}, r"data.test_fraction must be in \[0, 1\), got 1"),
        ({"num_workers": -1}, "data.num_workers must be at least 0, got -1"),
    ],
)
def test_impossible_values(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RareClass(**arguments)


class Counter(IterableDataset[tuple[Tensor, Tensor]]):
    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return ((torch.full((1, 8, 8), float(k)), torch.tensor(k % 10)) for k in range(20))


class Stream(BaseDataModule):
    def load_splits(self) -> dict[str, Any]:
        return {"train": Counter(), "val": Counter()}


def test_iterable_data_come_in_their_own_order() -> None:
    data = Stream(batch_size=8, num_workers=0)
    data.setup("fit")
    assert [targets.tolist() for _, targets in data.train_dataloader()][:2] == [[*range(8)], [8, 9, 0, 1, 2, 3, 4, 5]]
    assert data.describe() == "data: train (no length), val (no length)"
