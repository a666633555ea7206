import pytest
import torch

from trainworks.callbacks.prediction_writer import columns_of
from trainworks.errors import UsageError


def test_columns_of_one_and_of_two_dimensions() -> None:
    columns = columns_of({"a": torch.tensor([1, 2]), "b": torch.tensor([[3, 4], [5, 6]])})
    assert {name: values.tolist() for name, values in columns.items()} == {"a": [1, 2], "b_0": [3, 5], "b_1": [4, 6]}


@pytest.mark.parametrize(
    ("prediction", "message"),
    [([1, 2], "must return a mapping of names to tensors, got list"), ({"a": torch.zeros(1, 2, 3)}, r"'a' must be a")],
)
def test_what_makes_no_table_is_refused(prediction: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        columns_of(prediction)
