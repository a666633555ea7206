"""A table with a row for each sample, to which several processes append as the results come."""

import csv
import glob
import heapq
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from trainworks.errors import UsageError


class ResultTable:
    """Rows on their way to a table: each process appends to a part of its own, the first one joins them at the end.

    The first line of a part identifies the command that writes it; each further line is the index and row of a sample.

    Args:
        path: The table, .csv or .parquet.
        rank: This process.
        world_size: The number of processes.
        resume: Where a command that was killed is continued: what identifies it, the number of all rows, and the rows
            of one process in a batch, since only whole batches are kept. None begins anew.

    Raises:
        UsageError: If the table has another ending, or Parquet's package is missing.
    """

    def __init__(self, path: Path, rank: int, world_size: int, resume: tuple[str, int, int] | None = None) -> None:
        ending = path.suffix.lower()
        if ending not in (".csv", ".parquet"):
            raise UsageError(f"--output must end in .csv or .parquet, got {path}")
        if ending == ".parquet" and find_spec("pyarrow") is None:
            raise UsageError(f"--output {path} needs the package pyarrow; write pip install pyarrow")
        self.path, self.complete, self._world_size = path, True, world_size
        self._parts = [path.with_name(f"{path.name}.part{number}") for number in range(world_size)]
        path.parent.mkdir(parents=True, exist_ok=True)
        command, num_rows, batch_size = resume or ("", 1, 1)
        head, most = command + "\n", (num_rows - 1) // world_size  # so that something is left to do
        kept = min(most, *(_count_rows(part, head) for part in self._parts)) // batch_size * batch_size
        self.num_done, self._next = kept * world_size, rank  # rows that are there, and the index of the next sample
        self.part = self._parts[rank]
        _cut_behind(self.part, head, kept)

    def next_indices(self, count: int) -> Sequence[int]:
        """Return the indices of this process's next samples, where the processes take turns over the data."""
        first, self._next = self._next, self._next + count * self._world_size
        return range(first, self._next, self._world_size)

    def append(self, rows: Mapping[int, Mapping[str, Any]]) -> None:
        """Append rows by the index of their sample, which rises."""
        with self.part.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(item, default=_plain) + "\n" for item in rows.items())

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield index and row of all parts in the order of the samples, one at a time."""
        return heapq.merge(*map(_rows_of, self._parts), key=lambda item: item[0])

    def join(self) -> list[str]:
        """Write the table from the parts of all processes, in the order of the samples; return its columns.

        Without a row there is no table.
        """
        if (first := next(self.rows(), None)) is None:
            return []
        columns = [*next((row for _, row in self.rows() if not row.get("error")), first[1])]
        temporary = self.path.with_name(f"{self.path.name}.tmp")
        with temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows([_cell(row.get(name, "")) for name in columns] for _, row in self.rows())
        if self.path.suffix.lower() == ".parquet":
            _csv_to_parquet(temporary)
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
    """Return a tensor or an array that a foreign module gave as plain numbers, and anything else as a text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _cell(value: Any) -> Any:
    """Return what stands in a cell: lists and mappings as JSON."""
    return json.dumps(value) if isinstance(value, list | dict) else value


def _count_rows(part: Path, head: str) -> int:
    """Return how many rows of the same command a part holds whole."""
    if not part.is_file():
        return 0
    with part.open("rb") as file:
        return sum(line.endswith(b"\n") for line in file) if file.readline() == head.encode() else 0


def _cut_behind(part: Path, head: str, count: int) -> None:
    """Leave only the first line and so many rows in a part, or begin it."""
    if not count:
        part.write_text(head, encoding="utf-8")
    with part.open("rb") as file:
        size = sum(map(len, islice(file, count + 1)))
    os.truncate(part, size)


def _csv_to_parquet(path: Path) -> None:
    """Turn a CSV file into a Parquet file of the same name, some rows at a time."""
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    table = path.rename(f"{path}.csv")
    with arrow_csv.open_csv(table) as reader, parquet.ParquetWriter(path, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)
    table.unlink()
