import numpy as np
import pytest
import torch

from trainworks.errors import UsageError
from trainworks.models.colors import color_of
from trainworks.models.predict import results_of


def test_rows_of_tensors_of_one_and_of_two_dimensions() -> None:
    rows = results_of({"a": torch.tensor([1, 2]), "b": torch.tensor([[3, 4], [5, 6]])})
    assert rows == [{"a": 1, "b_0": 3, "b_1": 4}, {"a": 2, "b_0": 5, "b_1": 6}]
    assert results_of(torch.tensor([1.5, 2.0])) == [{"prediction": 1.5}, {"prediction": 2.0}]
    assert results_of([1, "b"]) == [1, "b"]


def test_rows_of_texts_lists_and_arrays() -> None:
    mixed = {"name": ["a", "b"], "p": np.array([0.5, 1.0]), "k": [torch.tensor(3), np.int64(4)], "all": np.eye(2)}
    expected = [{"name": "a", "p": 0.5, "k": 3, "all_0": 1.0, "all_1": 0.0}]
    assert results_of(mixed) == [*expected, {"name": "b", "p": 1.0, "k": 4, "all_0": 0.0, "all_1": 1.0}]
    assert results_of(np.array([1.5, 2.0])) == [{"prediction": 1.5}, {"prediction": 2.0}]
    assert results_of(("a", "b")) == ["a", "b"]


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        (None, "must return a list of results, or a mapping of names to tensors, arrays or lists, got NoneType"),
        ("abc", "arrays or lists, got str"),
        ({"a": "abc"}, r"'a' must be a tensor of shape .*, or a list, got 'abc'"),
        ({"a": [1], "b": torch.zeros(2)}, r"must have a row for each input, got {'a': 1, 'b': 2}"),
        ({"a": torch.zeros(1, 2, 3)}, r"'a' must be a"),
        ({"a": 3}, r"'a' must be a tensor of shape \(B,\) or \(B, K\), or a list, got 3"),
    ],
)
def test_what_makes_no_table_is_refused(prediction: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        results_of(prediction)


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
