import pytest
import torch

from trainworks.errors import UsageError
from trainworks.models.predict import results_of


def test_rows_of_tensors_of_one_and_of_two_dimensions() -> None:
    rows = results_of({"a": torch.tensor([1, 2]), "b": torch.tensor([[3, 4], [5, 6]])})
    assert rows == [{"a": 1, "b_0": 3, "b_1": 4}, {"a": 2, "b_0": 5, "b_1": 6}]
    assert results_of(torch.tensor([1.5, 2.0])) == [{"prediction": 1.5}, {"prediction": 2.0}]
    assert results_of([1, "b"]) == [1, "b"]


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        (None, "must return a list of results, or a mapping of names to tensors, got NoneType"),
        ({"a": torch.zeros(1, 2, 3)}, r"'a' must be a"),
        ({"a": [1, 2]}, r"'a' must be a tensor of shape \(B,\) or \(B, K\), got \[1, 2\]"),
    ],
)
def test_what_makes_no_table_is_refused(prediction: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        results_of(prediction)
