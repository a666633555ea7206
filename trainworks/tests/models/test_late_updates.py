"""Batches that wait give the values of batches that do not, also when a training is stopped among them."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torchmetrics import ClasswiseWrapper, MeanMetric, Metric, MetricCollection
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryAUROC,
    BinaryAveragePrecision,
    BinaryF1Score,
    BinaryJaccardIndex,
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassAveragePrecision,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassJaccardIndex,
    MulticlassRecall,
    MulticlassROC,
    MulticlassStatScores,
    MultilabelAUROC,
    MultilabelAveragePrecision,
)
from torchmetrics.detection import MeanAveragePrecision
from torchmetrics.regression import MeanSquaredError, PearsonCorrCoef

from trainworks.errors import UsageError
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


IGNORED: dict[str, Any] = {"ignore_index": 255}
NONE_OF_THE_TARGETS = torch.full((8,), 255)


@pytest.mark.parametrize(
    ("metric", "predictions", "targets"),
    [
        (MulticlassAccuracy(3, **IGNORED), torch.randn(8, 3), NONE_OF_THE_TARGETS),
        (MulticlassF1Score(3, average="micro", **IGNORED), torch.randn(8, 3), NONE_OF_THE_TARGETS),
        (MulticlassJaccardIndex(3, **IGNORED), torch.randn(8, 3), NONE_OF_THE_TARGETS),
        (MulticlassAUROC(3, **IGNORED), torch.randn(8, 3), NONE_OF_THE_TARGETS),
        (MulticlassAUROC(3), torch.randn(8, 3), torch.ones(8, dtype=torch.long)),
        (BinaryAUROC(), torch.rand(8), torch.zeros(8, dtype=torch.long)),
        (BinaryAUROC(thresholds=5), torch.rand(8), torch.zeros(8, dtype=torch.long)),
        (BinaryAveragePrecision(), torch.rand(8), torch.zeros(8, dtype=torch.long)),
        (MultilabelAveragePrecision(2, thresholds=5), torch.rand(8, 2), torch.zeros(8, 2, dtype=torch.long)),
        (MultilabelAUROC(2), torch.rand(8, 2), torch.ones(8, 2, dtype=torch.long)),
        (BinaryAccuracy(ignore_index=-1), torch.rand(8), torch.full((8,), -1)),
    ],
)
def test_a_metric_that_had_nothing_to_count_has_no_value(metric: Metric, predictions: Tensor, targets: Tensor) -> None:
    late = LateUpdates(MetricCollection({"metric": metric, "mse": MeanSquaredError()}).clone(prefix="val/"))
    late.metrics["metric"].update(predictions, targets)
    late.metrics["mse"].update(torch.ones(2), torch.zeros(2))
    assert {name: float(value) for name, value in late.compute().items()} == {"val/mse": 1.0}


def test_what_is_zero_by_right_stays() -> None:
    metrics: dict[str, Any] = {"accuracy": BinaryAccuracy(), "f1": BinaryF1Score(), "jaccard": BinaryJaccardIndex()}
    late = LateUpdates(MetricCollection(metrics))
    late.update(torch.zeros(4), torch.zeros(4, dtype=torch.long))
    assert {name: float(value) for name, value in late.compute().items()} == {"accuracy": 1, "f1": 0, "jaccard": 0}


CLASSWISE: dict[str, Any] = {"num_classes": 3, "average": None}


@pytest.mark.parametrize(
    "metric",
    [
        MulticlassF1Score(**CLASSWISE),
        MulticlassJaccardIndex(**CLASSWISE),
        MulticlassAUROC(**CLASSWISE),
        MulticlassAveragePrecision(**CLASSWISE, thresholds=5),
        ClasswiseWrapper(MulticlassRecall(**CLASSWISE)),
    ],
)
def test_a_value_for_each_class_goes_by_its_name(metric: Metric) -> None:
    late = LateUpdates(MetricCollection({"f": metric}).clone(prefix="val/"))
    names = ["a/b", "dog", "zebra"]
    assert late.names(names) == ["val/f/a_b", "val/f/dog", "val/f/zebra"]
    logits = torch.eye(3)[[0, 1, 0, 1]] * 9
    late.update(logits, torch.tensor([0, 1, 0, 1]))  # no zebra
    found = late.named_results(names)
    assert list(found) == late.names(names)
    assert [round(float(value), 4) for value in found.values()] == pytest.approx([1, 1, math.nan], nan_ok=True)
    assert late.names(["too", "few"]) == ["val/f/0", "val/f/1", "val/f/2"]


def test_of_a_wrapper_what_it_states_counts() -> None:
    metric = ClasswiseWrapper(MulticlassRecall(**CLASSWISE), labels=["x", "y", "z"], prefix="recall-")
    names = LateUpdates(MetricCollection({"r": metric}).clone(prefix="val/noisy/")).names(["a", "b", "c"])
    assert names == ["val/noisy/r/x", "val/noisy/r/y", "val/noisy/r/z"]


@pytest.mark.parametrize(
    ("metric", "got"),
    [
        (MulticlassConfusionMatrix(3), r"values of shape \(3, 3\)"),
        (MulticlassStatScores(3), r"values of shape \(5,\)"),
        (MulticlassROC(3, thresholds=4), "a tuple"),
    ],
)
def test_what_is_neither_a_number_nor_one_for_each_class_is_refused(metric: Metric, got: str) -> None:
    late = LateUpdates(MetricCollection({"m": metric}).clone(prefix="val/"))
    with pytest.raises(UsageError, match=rf"model\.metrics\.m: {type(metric).__name__} gives {got}.*figure_metrics"):
        late.names(None)


def test_precisions_of_boxes() -> None:
    late = LateUpdates(MetricCollection({"map": MeanAveragePrecision(class_metrics=True)}).clone(prefix="val/"))
    box = {"boxes": torch.tensor([[0.0, 0, 9, 9]]), "labels": torch.tensor([2])}
    late.update([box | {"scores": torch.ones(1)}], [box])
    found = late.named_results(["background", "cat", "dog"])
    assert found["val/map"] == found["val/map_per_class/dog"] == 1
    assert math.isnan(found["val/map_large"]) and "val/map_per_class/cat" not in found
    late.reset()
    late.update([box | {"scores": torch.ones(1)}], [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long()}])
    assert all(math.isnan(value) for value in late.named_results(None).values())
