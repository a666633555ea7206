"""Batches that wait give the values of batches that do not, also when a training is stopped among them."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassAUROC, MulticlassF1Score
from torchmetrics.regression import MeanSquaredError, PearsonCorrCoef

from trainworks.models.late_updates import MAX_BATCHES, MAX_ELEMENTS, LateUpdates

CLASSES: dict[str, Any] = {
    "accuracy": MulticlassAccuracy(3),
    "top2": MulticlassAccuracy(3, top_k=2),
    "f1": MulticlassF1Score(3),
    "auroc": MulticlassAUROC(3),
}
NUMBERS: dict[str, Any] = {"mse": MeanSquaredError(), "pearson": PearsonCorrCoef()}


def batches(kind: str, count: int = 37) -> list[tuple[Tensor, Tensor]]:
    """Return batches of which the last is small."""
    torch.manual_seed(0)
    sizes = [8] * (count - 1) + [3]
    if kind == "classes":
        return [(torch.randn(size, 3), torch.randint(3, (size,))) for size in sizes]
    return [(torch.randn(size), torch.randn(size)) for size in sizes]


def values(late: LateUpdates, given: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    for predictions, targets in given:
        late.update(predictions, targets)
        predictions.zero_()  # as where a network writes its next outputs to the same memory
    result = late.compute()
    late.reset()
    return result


@pytest.mark.parametrize(("kind", "metrics"), [("classes", CLASSES), ("numbers", NUMBERS)])
def test_the_values_are_those_of_updates_at_once(kind: str, metrics: dict[str, Any]) -> None:
    late, direct = LateUpdates(MetricCollection(metrics).clone()), MetricCollection(metrics).clone()
    for _ in range(2):  # epochs
        for given in batches(kind):
            direct.update(*given)
        expected = direct.compute()
        direct.reset()
        found = values(late, batches(kind))
        assert found.keys() == expected.keys()
        for name, value in found.items():
            torch.testing.assert_close(value, expected[name])


@pytest.mark.parametrize(("kind", "metrics"), [("classes", CLASSES), ("numbers", NUMBERS)])
@pytest.mark.parametrize("stop", [0, 1, 9, MAX_BATCHES + 1, 30])
def test_continued_they_are_the_same_bit_by_bit(kind: str, metrics: dict[str, Any], stop: int) -> None:
    late, whole = (LateUpdates(MetricCollection(metrics).clone()) for _ in range(2))
    values(late, batches(kind))  # an epoch before
    expected = values(whole, batches(kind))
    for given in batches(kind)[:stop]:
        late.update(*given)
    fresh = LateUpdates(MetricCollection(metrics).clone())
    fresh.load(late.state(), torch.device("cpu"))
    found = values(fresh, batches(kind)[stop:])
    assert {name: value.tolist() for name, value in found.items()} == {
        name: value.tolist() for name, value in expected.items()
    }


def test_how_many_updates_there_are() -> None:
    def calls(metrics: dict[str, Any], given: list[tuple[Any, Any]]) -> list[int]:
        late, seen = LateUpdates(MetricCollection(metrics).clone()), list[int]()
        late.metrics.update = lambda predictions, targets: seen.append(len(predictions))  # type: ignore[method-assign]
        for batch in given:
            late.update(*batch)
        late._update_waiting()
        return seen

    given = batches("classes", MAX_BATCHES + 4)
    assert calls(CLASSES, given) == [8, 8 * MAX_BATCHES, 8 + 8 + 3]
    assert calls({**CLASSES, "mean": MeanMetric()}, given[:3]) == [8, 8, 8]  # it may look at single batches
    large = torch.zeros(MAX_ELEMENTS // 4, 5), torch.zeros(MAX_ELEMENTS // 4)
    assert calls(CLASSES, [*given[:3], large, *given[3:5]]) == [8, 16, MAX_ELEMENTS // 4, 16]  # in their order
    other = torch.zeros(8, 4), torch.zeros(8)
    assert calls(CLASSES, [*given[:3], other]) == [8, 16, 8]
    boxes = [{"boxes": torch.zeros(1, 4)}]
    assert calls(CLASSES, [(boxes, boxes)] * 2) == [1, 1]


def test_a_batch_that_does_not_fit_is_named() -> None:
    late = LateUpdates(MetricCollection({"accuracy": MulticlassAccuracy(3)}))
    with pytest.raises(Exception, match=r"model\.metrics\.accuracy: MulticlassAccuracy cannot take predictions of "):
        late.update(torch.zeros(4, 5), torch.zeros(3, dtype=torch.long))
