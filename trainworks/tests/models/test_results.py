import numpy as np
import pytest
import torch

from trainworks.errors import UsageError
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
