from collections.abc import Mapping
from typing import Any

from torch import Tensor

from trainworks.errors import UsageError


def with_names(names: list[str], rows: list[list[Any]], data: Any) -> tuple[list[str], list[list[Any]]]:
    """Add the columns that need the datamodule."""
    splits, classes = getattr(data, "splits", {}), getattr(data, "class_names", None)
    samples: Any = splits.get(getattr(data, "predicted", "test"))
    if rows and hasattr(samples, "name") and samples.name(0) is not None:
        names, rows = [*names, "file"], [[*row, samples.name(row[0])] for row in rows]
    if classes and "prediction" in names:
        place = names.index("prediction")
        names, rows = [*names, "class"], [[*row, classes[row[place]]] for row in rows]
    return names, rows


def columns_of(prediction: Any) -> dict[str, Tensor]:
    """Return the columns that `predict_step` gave, each of shape (B,)."""
    if not isinstance(prediction, Mapping):
        raise UsageError(f"predict_step must return a mapping of names to tensors, got {type(prediction).__name__}")
    columns: dict[str, Tensor] = {}
    for name, values in prediction.items():
        if not isinstance(values, Tensor) or values.ndim not in (1, 2):
            raise UsageError(f"predict_step's '{name}' must be a tensor of shape (B,) or (B, K), got {values!r:.80}")
        columns |= {name: values} if values.ndim == 1 else {f"{name}_{k}": column for k, column in enumerate(values.T)}
    return columns
