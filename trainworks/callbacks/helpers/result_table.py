"""A table with a row for each sample, to which several processes append as the results come."""

import csv
import glob
import heapq
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainworks.errors import UsageError
from trainworks.models.misfit import shape_of


class ResultTable:
    """Rows on their way to a CSV file: each process appends to a part of its own, the first one joins them at the end.

    The first line of a part identifies the command that writes it; each further line is the index and row of a sample.
    """

    def __init__(self, path: Path, rank: int, world_size: int) -> None:
        self.path, self.world_size, self.complete = path, world_size, True
        self.parts = [path.with_name(f"{path.name}.part{number}") for number in range(world_size)]
        self.part = self.parts[rank]
        self.num_done, self._next = 0, rank  # rows that were there before, and the index of the next sample
        path.parent.mkdir(parents=True, exist_ok=True)

    def begin(self, command: str = "") -> None:
        """Begin the part of this process without a row."""
        self.part.write_text(command + "\n", encoding="utf-8")

    def next_indices(self, count: int) -> Sequence[int]:
        """Return the indices of this process's next samples, where the processes take turns over the data."""
        first, self._next = self._next, self._next + count * self.world_size
        return range(first, self._next, self.world_size)

    def append(self, rows: Mapping[int, Mapping[str, Any]]) -> None:
        """Append rows by the index of their sample, which rises; a UsageError, and none, if one fits into no cells."""
        with self.part.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(item, default=_plain) + "\n" for item in rows.items()))

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield index and row of all parts in the order of the samples, one at a time."""
        return heapq.merge(*map(_rows_of, self.parts), key=lambda item: item[0])

    def join(self) -> list[str]:
        """Write the rows of all processes, if there are any, in the order of the samples; return their columns."""
        if (first := next(self.rows(), None)) is None:
            return []
        columns = [*next((row for _, row in self.rows() if not row.get("error")), first[1])]
        temporary = self.path.with_name(f"{self.path.name}.tmp")
        with temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows([_cell(row.get(name, "")) for name in columns] for _, row in self.rows())
        os.replace(temporary, self.path)
        return columns

    def remove_parts(self) -> None:
        """Remove the parts of all processes, also of a command that was killed and had more of them."""
        for part in self.path.parent.glob(f"{glob.escape(self.path.name)}.part*"):
            part.unlink()


def _rows_of(part: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with part.open(encoding="utf-8") as file:
        next(file)
        yield from map(json.loads, file)


def _plain(value: Any) -> Any:
    """Return numbers of up to two dimensions that a foreign module gave as lists, and a path or the like as a text."""
    if hasattr(value, "tolist") and getattr(value, "ndim", 0) <= 2:
        return value.tolist()
    if hasattr(value, "ndim") or (hasattr(value, "__dict__") and str(value) == repr(value)):
        raise UsageError(f"a result holds {shape_of(value)}, which fits into no cell")
    return str(value)


def _cell(value: Any) -> Any:
    """Return what stands in a cell: lists and mappings as JSON."""
    return json.dumps(value) if isinstance(value, list | dict) else value
