"""CSV tables, read some rows at a time."""

import csv
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from src.config import UsageError, did_you_mean

CHUNK = 100_000  # rows that are Python objects at one time


def read_csv(path: str, required: Sequence[str]) -> Iterator[dict[str, tuple[str, ...]]]:
    """Yield the columns of a table with a header, some rows at a time.

    Args:
        path: The table; UTF-8.
        required: Columns that must be there.

    Raises:
        UsageError: If the file or a column is missing, or a row is incomplete.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            for name in required:
                if name not in header:
                    found = ", ".join(header) or "nothing"
                    raise UsageError(f"{path}: no column '{name}'{did_you_mean(name, header)}; its header is {found}")
            while rows := list(islice(reader, CHUNK)):
                for number, row in enumerate(rows, reader.line_num - len(rows) + 1):
                    if len(row) != len(header) or not all(row):
                        raise UsageError(f"{path}, line {number}: expected {','.join(header)}, got {','.join(row)!r}")
                yield dict(zip(header, zip(*rows, strict=True), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read as a table: {error}") from None


def to_numbers(path: str, name: str, values: Sequence[str]) -> np.ndarray:
    """Turn one column's cells into float64.

    Raises:
        UsageError: If a cell is no finite number.
    """
    try:
        numbers = np.array(values, dtype=np.float64)
    except ValueError as error:
        raise UsageError(f"{path}: column '{name}' is not made of numbers: {error}") from None
    if not np.isfinite(numbers).all():
        wrong = values[int(np.flatnonzero(~np.isfinite(numbers))[0])]
        raise UsageError(f"{path}: column '{name}' must be finite, got {wrong}")
    return numbers
