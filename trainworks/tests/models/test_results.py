from collections import namedtuple
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from trainworks.errors import UsageError
from trainworks.models.colors import color_of
from trainworks.models.losses import WeightedSum, sample_losses
from trainworks.models.predict import results_of
from trainworks.models.results import BoxResult, MaskResult, target_columns


@dataclass
class Output:
    """What a module of another make returns."""

    logits: Any
    loss: Any = None


NamedOutput = namedtuple("NamedOutput", ["logits", "hidden"], defaults=[None])


def test_rows_of_tensors_of_one_and_of_two_dimensions() -> None:
    rows = results_of({"a": torch.tensor([1, 2]), "b": torch.tensor([[3, 4], [5, 6]])}, 2)
    assert rows == [{"a": 1, "b_0": 3, "b_1": 4}, {"a": 2, "b_0": 5, "b_1": 6}]
    assert results_of(torch.tensor([1.5, 2.0]), 2) == [{"prediction": 1.5}, {"prediction": 2.0}]
    assert results_of([1, "b"], 2) == [1, "b"]


def test_rows_of_texts_lists_and_arrays() -> None:
    mixed = {"name": ["a", "b"], "p": np.array([0.5, 1.0]), "k": [torch.tensor(3), np.int64(4)], "all": np.eye(2)}
    expected = [{"name": "a", "p": 0.5, "k": 3, "all_0": 1.0, "all_1": 0.0}]
    assert results_of(mixed, 2) == [*expected, {"name": "b", "p": 1.0, "k": 4, "all_0": 0.0, "all_1": 1.0}]
    assert results_of(np.array([1.5, 2.0]), 2) == [{"prediction": 1.5}, {"prediction": 2.0}]
    assert results_of(("a", "b"), 2) == ["a", "b"]


LOGITS = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])


class Graphs:
    """Has keys, as batches of graphs and tables have, and is no mapping."""

    def keys(self) -> list[str]:
        return ["logits"]

    def __getitem__(self, key: str) -> Any:
        return LOGITS


@pytest.mark.parametrize(
    "returned",
    [
        {"logits": LOGITS, "loss": torch.tensor(0.5), "nothing": None},
        {"logits": LOGITS, "loss": 0.5},
        Output(LOGITS, torch.tensor(0.5)),
        NamedOutput(LOGITS),
        Graphs(),
    ],
)
def test_what_has_names_has_columns_and_a_number_of_the_batch_has_none(returned: object) -> None:
    rows = [{"logits_0": float(k), "logits_1": k + 1.0} for k in (1, 3, 5)]
    assert results_of(returned, 3) == rows


def test_a_tuple_of_tensors_has_columns_and_a_list_has_results() -> None:
    row = {"prediction_0_0": 3.0, "prediction_0_1": 4.0, "prediction_1": 1}
    assert results_of((LOGITS, LOGITS.argmax(1), 0.5), 3)[1] == row
    assert results_of((LOGITS[:2], torch.zeros(2)), 2)[1] == {**row, "prediction_1": 0.0}  # also of as many inputs
    assert results_of(LOGITS.argmax(1).unbind(), 3) == [1, 1, 1]
    assert [result.tolist() for result in results_of(list(LOGITS), 3)] == LOGITS.tolist()


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        (None, "predict_step returned NoneType, not a result for each of 2 inputs"),
        ("ab", "returned str, not a result"),
        (torch.tensor(0.5), r"returned float32 \(\), not a result"),
        ({"loss": 3}, "returned dict, not a result"),
        ({"a": "ab"}, "predict_step's 'a' is str, not a row for each of 2 inputs"),
        ({"a": {"x": 1, "y": 2}}, "'a' is dict"),
        ({"a": [1], "b": torch.zeros(2)}, "'a' is list"),
        ({"a": torch.zeros(2, 2, 3)}, r"'a' is float32 \(2, 2, 3\)"),
        (np.zeros((3, 2)), r"'prediction' is float64 \(3, 2\)"),
        ([LOGITS[:2], torch.zeros(2)], "returned list"),  # parts or results: nobody knows
        ((torch.zeros(2), torch.zeros(3)), r"'prediction_1' is float32 \(3,\)"),
        ([1, 2, 3], "returned list"),
    ],
)
def test_what_makes_no_rows_is_refused_without_its_numbers(prediction: object, message: str) -> None:
    with pytest.raises(UsageError, match=message) as failed:
        results_of(prediction, 2)
    assert "tensor" not in str(failed.value)


def test_without_a_number_of_inputs_there_are_no_rows() -> None:
    with pytest.raises(UsageError, match="this loader does not say how many inputs a batch has"):
        results_of(LOGITS, 0)


# what is seen without one kind of cones: of linear red, green and blue (doi:10.1109/TVCG.2009.113, severity 1)
EYES = {
    "all cones": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]


@pytest.mark.parametrize("eyes", EYES)
def test_colours_of_classes_differ_for_all_eyes(eyes: str) -> None:
    values = np.array([color_of(number) for number in range(24)]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    xyz = np.clip(linear @ np.array(EYES[eyes]).T, 0, 1) @ np.array(XYZ).T / [0.95047, 1, 1.08883]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116).T
    lab = np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
    distances = np.linalg.norm(lab[:, None] - lab, axis=2)[np.triu_indices(24, 1)]
    assert distances.min() > 14  # Okabe and Ito's own: 16
    assert color_of(24) == color_of(1) and color_of(255) == color_of(-100) == (128, 128, 128)


SHAPES = {"classes": ((6, 4), (6,)), "masks": ((6, 4, 5, 5), (6, 5, 5)), "numbers": ((6, 3), (6, 3))}
LOSSES: list[tuple[nn.Module, str]] = [
    (nn.CrossEntropyLoss(label_smoothing=0.1), "classes"),
    (nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2, 3, 4])), "classes"),
    (nn.MultiMarginLoss(), "classes"),
    (nn.CrossEntropyLoss(), "masks"),
    (nn.BCEWithLogitsLoss(pos_weight=torch.tensor([1.0, 5, 9])), "numbers"),
    (nn.SmoothL1Loss(), "numbers"),
]


@pytest.mark.parametrize(("loss", "kind"), LOSSES)
def test_the_losses_of_samples_have_the_mean_of_their_batch(loss: Any, kind: str) -> None:
    torch.manual_seed(0)
    outputs, targets = torch.randn(SHAPES[kind][0]), torch.rand(SHAPES[kind][1])
    targets = targets if kind == "numbers" else (4 * targets).long()
    value = loss(outputs, targets)
    found = sample_losses(loss, [((outputs, targets), value)], value)
    factors = loss.weight[targets] if getattr(loss, "weight", None) is not None else torch.ones(6)
    assert np.sum(found) / float(factors.sum()) == pytest.approx(float(value), rel=1e-5)
    assert loss.reduction == "mean"
    assert sample_losses(loss, [((outputs, targets), value)], value + 0) == []  # a step that adds to it


def test_what_a_loss_ignores_is_not_in_its_mean() -> None:
    logits, masks = torch.randn(2, 3, 4, 4), torch.zeros(2, 4, 4, dtype=torch.long)
    masks[0, :3] = masks[1] = 255
    loss = nn.CrossEntropyLoss(ignore_index=255)
    found = sample_losses(loss, [((logits, masks), masks)], masks)
    assert found[0] == pytest.approx(float(loss(logits[:1], masks[:1]))) and np.isnan(found[1])


@pytest.mark.parametrize(
    "loss", [nn.MSELoss(reduction="sum"), WeightedSum([nn.MSELoss()], [1.0]), nn.KLDivLoss(reduction="batchmean"), None]
)
def test_other_losses_tell_nothing_of_a_sample(loss: Any) -> None:
    value = torch.rand(2, 2)
    assert sample_losses(loss, [((value, value), value)], value) == []


def test_how_a_mask_and_boxes_agree_with_their_targets() -> None:
    mask = torch.tensor([[0, 0, 1, 1]], dtype=torch.uint8)
    target = torch.tensor([[[0, 2, 1, 255]]])
    result = MaskResult(mask, 0.5, ["a", "b", "c"])
    assert target_columns(target, result, None) == {"iou": pytest.approx((1 / 2 + 1 + 0) / 3)}  # one class is missed
    assert np.isnan(target_columns(torch.full((1, 4), -100), result, None)["iou"])
    assert target_columns(torch.zeros(1, 3), result, None) == {}
    boxes = torch.tensor([[0.0, 0, 8, 8], [0, 0, 8, 9], [20, 20, 30, 30]])
    truth = {"boxes": boxes[[0, 2]], "labels": torch.tensor([1, 0])}
    found = BoxResult(boxes, ["b", "b", "b"], [0.9, 0.8, 0.7])
    columns = target_columns(truth, found, ["a", "b"])  # one is right, one is found twice, one is of another class
    assert columns["f1"] == pytest.approx(2 / 5) and columns["target"]["labels"] == ["b", "a"]
    nothing = BoxResult(torch.zeros(0, 4), [], [])
    assert [target_columns(item, nothing, None)["f1"] for item in (truth, {})] == [0, 1]


def test_boxes_and_masks_are_drawn_over_their_images(tmp_path: Path) -> None:
    grey = Image.new("L", (60, 40), 128)
    grey.getexif()[0x0112] = 6  # a camera that was turned
    grey.save(tmp_path / "a.jpg", exif=grey.getexif())
    found = BoxResult(torch.tensor([[2.0, 3.0, 30.0, 50.0]]), ["<cat>"], [0.9], ["dog", "<cat>"])
    with pytest.raises(UsageError, match=r"this BoxResult does not know its image; write image\(picture\)"):
        found.save(tmp_path / "b.png")
    assert found._repr_html_().startswith("<table>")
    found.source = tmp_path / "a.jpg"
    found.save(tmp_path / "b.png")
    drawn = np.asarray(Image.open(tmp_path / "b.png"))
    assert drawn.shape == (60, 40, 3) and tuple(drawn[50, 30]) == color_of(1)
    assert np.array_equal(found.image(torch.full((3, 60, 40), 128, dtype=torch.uint8)), drawn)
    assert found._repr_html_().startswith('<img alt="&lt;cat&gt; 0.90" src="data:image/png;base64,')
    found.source = "gone.jpg"
    assert found._repr_html_().startswith("<table>") and "gone" not in repr(found)
    mask = MaskResult(torch.zeros(60, 40, dtype=torch.uint8), 0.5, ["a", "b"])
    mask.mask[:30] = 1
    assert mask.image().mode == "P" and mask._repr_html_().startswith('<img alt="a 50.0%, b 50.0%" src=')
    over = np.asarray(mask.image(tmp_path / "a.jpg"))
    assert tuple(over[40, 20]) == (128, 128, 128) and tuple(over[20, 20]) != (128, 128, 128)
    with pytest.raises(UsageError, match=r"a mask of \(60, 40\) fits no image of \(8, 8\) pixels"):
        mask.image(np.zeros((8, 8, 3), np.uint8))
    deep = Image.fromarray(np.array([[0, 60000]], np.uint16).repeat(40, 0).repeat(20, 1))
    assert set(np.asarray(found.image(deep))[0, :, 0]) == {0, 255}  # 16 bits
