"""CSV tables, read some rows at a time."""

import csv
import re
from collections.abc import Collection, Iterator, Sequence
from itertools import islice

import numpy as np

from trainworks.errors import UsageError, did_you_mean, listed

Chunks = Iterator[tuple[int, dict[str, tuple[str, ...]]]]
CHUNK_SIZE = 100_000  # rows that are Python objects at one time
TRUTH = {"true": 1.0, "false": 0.0}  # as pandas writes them
DECIMAL_COMMA = re.compile(r"^\s*([-+]?\d*),(\d+(?:[eE][-+]?\d+)?)\s*$")


def read_csv(path: str, required: Sequence[str], advice: str = "", optional: Sequence[str] | None = None) -> Chunks:
    """Yield some rows of a table with a header at a time: the line of the first, and the columns.

    The separator is a comma, a semicolon or a tab, whichever the header has most of. Where it is no comma, numbers may
    have a decimal comma. Empty lines and spaces after a separator are skipped. The file must be UTF-8 and have the
    columns `required`; `advice` ends the message if not. These and `optional` ones, all if None, have no empty cell.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            separator = max(",;\t", key=first.count)
            reader = csv.reader(file, delimiter=separator, skipinitialspace=True)
            header = [name.strip() for name in next(reader, [])]
            if twice := [name for number, name in enumerate(header) if name and name in header[:number]]:
                raise UsageError(f"{path}: its header has the column '{twice[0]}' twice; give each a name of its own")
            for name in required:
                if name not in header:
                    found = ", ".join(header) or "nothing"
                    near = did_you_mean(name, header)
                    raise UsageError(f"{path}: no column '{name}'{near}; its header is {found}{advice}")
            used = header if optional is None else [*required, *optional]
            whole = (_checked(path, reader.line_num, row, header, used) for row in reader if row)
            line = reader.line_num + 1
            while rows := list(islice(whole, CHUNK_SIZE)):
                if separator != ",":
                    rows = [[DECIMAL_COMMA.sub(r"\1.\2", cell) for cell in row] for row in rows]
                yield line, dict(zip(header, zip(*rows, strict=True), strict=True))
                line = reader.line_num + 1
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not UTF-8; save the table in that encoding") from None
    except (OSError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read as a table: {error}") from None


def to_numbers(path: str, name: str, values: Sequence[str], line: int = 2, high: float | None = None) -> np.ndarray:
    """Convert cells of the column `name` to float64, in [0, `high`] if that is given; `line` is the first one's."""
    try:
        numbers = np.array(values, dtype=np.float64)
    except ValueError:
        numbers = np.array([number(value) for value in values])
    right = np.isfinite(numbers) & ((high is None) | (numbers >= 0) & (numbers <= (high or 0)))
    if len(wrong := np.flatnonzero(~right)):
        where = f"{path}, line {line + int(wrong[0])}, column '{name}'"
        kind = "finite number" if high is None else f"number from 0 to {high:.4g}"
        advice = "write texts and dates as numbers, or leave the column (or the row) out"
        raise UsageError(f"{where}: expected a {kind}, got '{values[int(wrong[0])]}'; {advice}")
    return numbers


def class_numbers(path: str, labels: Collection[str], classes: list[str]) -> list[int]:
    """Return the number of each label's class; a label of the table that is none of the classes is a UsageError."""
    index = {name: number for number, name in enumerate(classes)}
    if unknown := [label for label in labels if label not in index]:
        near, names = did_you_mean(unknown[0], classes), listed(classes)
        raise UsageError(f"{path}: label '{unknown[0]}' is none of the {len(classes)} classes{near}: {names}")
    return [index[label] for label in labels]


def _checked(path: str, line: int, row: list[str], header: list[str], used: Collection[str]) -> list[str]:
    if len(row) != len(header):
        raise UsageError(
            f"{path}, line {line}: {len(row)} cells, but the header has {len(header)}: {', '.join(header)}"
        )
    if "" in row and (empty := [name for name, cell in zip(header, row, strict=True) if not cell and name in used]):
        advice = "fill it in, or leave the row out"
        raise UsageError(f"{path}, line {line}, column '{empty[0]}': the cell is empty; {advice}")
    return row


def number(text: str) -> float:
    """Return the number, True or False that a cell holds; NaN for any other text."""
    try:
        return float(TRUTH.get(text.strip().lower(), text))
    except ValueError:
        return np.nan
