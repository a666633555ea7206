"""A table of results that is written row by row, by several processes, and that a killed command goes on with."""

import csv
import glob
import heapq
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

from trainworks.errors import UsageError


class ResultTable:
    """Rows on their way to a table: each process appends to a part of its own, the first one joins them at the end.

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
        if path.suffix.lower() not in (".csv", ".parquet"):
            raise UsageError(f"--output must end in .csv or .parquet, got {path}")
        if path.suffix.lower() == ".parquet" and find_spec("pyarrow") is None:
            raise UsageError(f"--output {path} needs the package pyarrow; write pip install pyarrow")
        self.path, self.complete, self._world_size = path, True, world_size
        self._parts = [path.with_name(f"{path.name}.part{number}") for number in range(world_size)]
        path.parent.mkdir(parents=True, exist_ok=True)
        command, num_rows, batch_size = resume or ("", 1, 1)
        head, most = command + "\n", (num_rows - 1) // world_size  # so that something is left to do
        kept = min(most, *(_count_rows(part, head) for part in self._parts)) // batch_size * batch_size
        self.num_done, self._next = kept * world_size, rank  # rows that are there, and the index of the next sample
        self.file = _open_behind(self._parts[rank], head, kept)

    def next_indices(self, count: int) -> Sequence[int]:
        """Return the indices of this process's next samples, where the processes take turns over the data."""
        first, self._next = self._next, self._next + count * self._world_size
        return range(first, self._next, self._world_size)

    def append(self, rows: Mapping[int, Mapping[str, Any]]) -> None:
        """Append rows by the index of their sample, which rises."""
        self.file.writelines(json.dumps(item, default=_plain) + "\n" for item in rows.items())
        self.file.flush()

    def join(self) -> list[str]:
        """Write the table from the parts of all processes, in the order of the samples; return its columns.

        Without a row there is no table.
        """
        if (first := next(self._rows(), None)) is None:
            return []
        columns = [*next((row for _, row in self._rows() if not row.get("error")), first[1])]
        table = self.path if self.path.suffix.lower() == ".csv" else self.path.with_name(f"{self.path.name}.csv")
        temporary = table.with_name(f"{table.name}.tmp")
        with temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows([_cell(row.get(name, "")) for name in columns] for _, row in self._rows())
        os.replace(temporary, table)
        if table != self.path:
            _to_parquet(table, self.path)
        return columns

    def remove_parts(self) -> None:
        """Remove the parts of all processes, also of a command that was killed and had more of them."""
        for part in self.path.parent.glob(f"{glob.escape(self.path.name)}.part*"):
            part.unlink()

    def write_coco(self, class_names: list[str]) -> None:
        """Write the boxes of all rows as results in COCO's format: corner, width and height."""

        def boxes() -> Iterator[dict[str, Any]]:
            for index, row in self._rows():
                found = zip(*(row.get(name, ()) for name in ("boxes", "labels", "scores")), strict=True)
                for (x1, y1, x2, y2), label, score in found:
                    category = class_names.index(label) if label in class_names else int(label)
                    box = {"image_id": index, "category_id": category, "bbox": [x1, y1, x2 - x1, y2 - y1]}
                    yield box | {"score": score}

        images = ({"id": index, "file_name": str(row["input"])} for index, row in self._rows())
        categories = ({"id": number, "name": name} for number, name in enumerate(class_names))
        lists = {"images": images, "annotations": boxes(), "categories": categories}
        with self.path.with_suffix(".coco.json").open("w", encoding="utf-8") as file:  # all of it may be too much
            for name, items in lists.items():
                file.write(f'{"{" if items is images else ", "}"{name}": [')
                file.writelines(f"{', ' if number else ''}{json.dumps(item)}" for number, item in enumerate(items))
                file.write("]")
            file.write("}")

    def _rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield index and row of all parts in the order of the samples, one at a time."""
        return heapq.merge(*map(_rows_of, self._parts), key=lambda item: item[0])


def _rows_of(part: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with part.open(encoding="utf-8") as file:
        next(file)
        for line in file:
            yield json.loads(line)


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
        if file.readline() != head.encode():
            return 0
        return sum(line.endswith(b"\n") for line in file)


def _open_behind(part: Path, head: str, count: int) -> TextIO:
    """Open a part behind its first rows, and leave nothing else in it."""
    if not count:
        part.write_text(head, encoding="utf-8")
    file = part.open("r+", encoding="utf-8")
    for _ in range(count + 1):
        file.readline()
    file.seek(file.tell())
    file.truncate()
    return file


def _to_parquet(table: Path, path: Path) -> None:
    """Turn a table into Parquet, some rows at a time."""
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    with arrow_csv.open_csv(table) as reader, parquet.ParquetWriter(path, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)
    table.unlink()
