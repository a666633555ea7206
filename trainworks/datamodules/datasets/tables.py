"""CSV tables, read some rows at a time."""

import csv
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np

from trainworks.errors import UsageError, did_you_mean, listed

Chunks = Iterator[tuple[Sequence[int], dict[str, tuple[str, ...]]]]
CHUNK_SIZE = 100_000  # rows that are Python objects at one time
TRUTH = {"true": 1.0, "false": 0.0}  # as pandas writes them
DECIMAL_COMMA = re.compile(r"^\s*([-+]?\d*),(\d+(?:[eE][-+]?\d+)?)\s*$")


class TableRows(Sequence[Any]):
    """Rows of numbers as one array, shape (N, K), and by their index why others cannot be read: a UsageError."""

    def __init__(self, numbers: np.ndarray, errors: Mapping[int, str]) -> None:
        self.numbers, self.errors = numbers, errors

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            errors = {new: self.errors[row] for new, row in enumerate(range(len(self))[index]) if row in self.errors}
            return TableRows(self.numbers[index], errors)
        if index in self.errors:
            raise UsageError(self.errors[index])
        return self.numbers[index]


def read_csv(
    path: str,
    required: Sequence[str],
    advice: str = "",
    optional: Sequence[str] | None = None,
    broken: dict[int, str] | None = None,
) -> Chunks:
    """Yield some rows of a table with a header at a time: their lines, and the columns.

    The separator is a comma, a semicolon or a tab, whichever the header has most of. Where it is no comma, numbers may
    have a decimal comma. Empty lines and spaces after a separator are skipped. The file must be UTF-8 and have the
    columns `required`; `advice` ends the message if not. These and `optional` ones, all with a name if None, have no
    empty cell. Where `broken` is given, empty cells stay, and a row of another length becomes one of them; `broken`
    gets the reason by its line.
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
            used = filter(None, header) if optional is None else [*required, *optional]
            checked = path, header, {*used} if broken is None else (), broken
            whole = ((reader.line_num, _checked(reader.line_num, row, *checked)) for row in reader if row)
            while numbered := list(islice(whole, CHUNK_SIZE)):
                lines, rows = zip(*numbered, strict=True)
                if separator != ",":
                    rows = tuple([DECIMAL_COMMA.sub(r"\1.\2", cell) for cell in row] for row in rows)
                yield lines, dict(zip(header, zip(*rows, strict=True), strict=True))
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not UTF-8; save the table in that encoding") from None
    except (OSError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read as a table: {error}") from None


def read_rows(path: str, names: Sequence[str]) -> TableRows:
    """Read columns of a table as numbers, all of them if `names` is empty; a row of anything else has its reason."""
    parts, errors, broken, start = [np.empty((0, len(names)))], dict[int, str](), dict[int, str](), 0
    for lines, chunk in read_csv(path, names, broken=broken):
        names = names or list(filter(None, chunk))
        numbers = np.stack([_numbers(chunk[name]) for name in names], axis=1)
        for row, column in np.argwhere(~np.isfinite(numbers)).tolist():
            reason = broken.get(lines[row]) or _no_number(path, lines[row], names[column], chunk[names[column]][row])
            errors.setdefault(start + row, reason)
        start += len(numbers)
        parts.append(numbers)
    return TableRows(np.concatenate(parts[1:] or parts), errors)


def to_numbers(
    path: str, name: str, values: Sequence[str], lines: Sequence[int], high: float | None = None
) -> np.ndarray:
    """Convert cells of the column `name` to float64, in [0, `high`] if that is given; `lines` are the table's."""
    numbers = _numbers(values)
    right = np.isfinite(numbers) & ((high is None) | (numbers >= 0) & (numbers <= (high or 0)))
    if len(wrong := np.flatnonzero(~right)):
        raise UsageError(_no_number(path, lines[wrong[0]], name, values[wrong[0]], high))
    return numbers


def class_numbers(path: str, labels: Collection[str], classes: list[str]) -> list[int]:
    """Return the number of each label's class; a label of the table that is none of the classes is a UsageError."""
    index = {name: number for number, name in enumerate(classes)}
    if unknown := [label for label in labels if label not in index]:
        near, names = did_you_mean(unknown[0], classes), listed(classes)
        raise UsageError(f"{path}: label '{unknown[0]}' is none of the {len(classes)} classes{near}: {names}")
    return [index[label] for label in labels]


def number(text: str) -> float:
    """Return the number, True or False that a cell holds; NaN for any other text."""
    try:
        return float(TRUTH.get(text.strip().lower(), text))
    except ValueError:
        return np.nan


def _checked(
    line: int, row: list[str], path: str, header: list[str], used: Collection[str], broken: dict[int, str] | None
) -> list[str]:
    if len(row) != len(header):
        reason = f"{path}, line {line}: {len(row)} cells, but the header has {len(header)}: {', '.join(header)}"
        if broken is None:
            raise UsageError(reason)
        broken[line] = reason
        return [""] * len(header)
    if "" in row and (empty := [name for name, cell in zip(header, row, strict=True) if not cell and name in used]):
        raise UsageError(_no_number(path, line, empty[0], ""))
    return row


def _no_number(path: str, line: int, name: str, cell: str, high: float | None = None) -> str:
    """Say that a cell is empty or no number from 0 to `high`, if that is given."""
    where = f"{path}, line {line}, column '{name}'"
    if not cell:
        return f"{where}: the cell is empty; fill it in, or leave the row out"
    kind = "finite number" if high is None else f"number from 0 to {high:.4g}"
    advice = "write texts and dates as numbers, or leave the column (or the row) out"
    return f"{where}: expected a {kind}, got '{cell}'; {advice}"


def _numbers(cells: Sequence[str]) -> np.ndarray:
    """Convert cells to float64, NaN for what is no number."""
    try:
        return np.array(cells, dtype=np.float64)
    except ValueError:
        return np.array([number(cell) for cell in cells])
