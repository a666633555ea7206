"""The table of the command predict, with what a test does without: going on after a kill, Parquet, pictures, boxes."""

import json
import os
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn

from trainworks.callbacks.helpers.result_table import ResultTable
from trainworks.errors import RunFailure, UsageError
from trainworks.models.colors import color_of
from trainworks.models.predict import named_parts
from trainworks.runs.plain_data import to_plain


class PredictionTable(ResultTable):
    """Rows on their way to `output`, a CSV or Parquet file; beside it pictures, boxes and batches that make no rows."""

    def __init__(self, output: Path, rank: int, world_size: int, data: Any) -> None:
        ending = output.suffix.lower()
        if ending not in (".csv", ".parquet"):
            raise UsageError(f"--output must end in .csv or .parquet, got {output}")
        if ending == ".parquet" and find_spec("pyarrow") is None:
            raise UsageError(f"--output {output} needs the package pyarrow; write pip install pyarrow")
        super().__init__(output if ending == ".csv" else output.with_name(f"{output.name}.csv"), rank, world_size)
        self.output, self.reason = output, ""  # why no more rows can be made
        self.batches, self.rank, self._first = output.with_name(f"{output.stem}_batches"), rank, 0
        self.class_names, self.image_ids = getattr(data, "class_names", None) or [], getattr(data, "image_ids", {})
        numbers = {name: number for number, name in enumerate(self.class_names)}
        self.category_ids = getattr(data, "category_ids", None) or numbers

    def begin(self, command: str = "") -> None:
        """Begin without a row, and without the batches of an earlier command."""
        super().begin(command)
        for path in self.batches.glob("*.pt"):
            if int(path.stem) % self.world_size == self.rank:  # the other processes remove theirs
                path.unlink()

    def resume(self, command: str, num_rows: int, batch_size: int) -> None:
        """Keep the rows of the same command that was killed, or begin; `num_done` says how many there are.

        Only whole batches, of `batch_size` rows of each process, are kept, and fewer than all `num_rows` rows.
        """
        most = 0 if any(self.batches.glob("*.pt")) else (num_rows - 1) // self.world_size
        kept = min(most, *(_count_rows(part, command) for part in self.parts)) // batch_size * batch_size
        self.num_done, self._first = kept * self.world_size, kept // batch_size
        if not kept:
            return self.begin(command)
        with self.part.open("rb") as file:
            size = sum(map(len, islice(file, kept + 1)))
        os.truncate(self.part, size)

    def join(self) -> list[str]:
        """Write the table, and a COCO file where it has boxes, and say where all is; return its columns."""
        columns, saved = super().join(), len([*self.batches.glob("*.pt")])
        if saved or self.reason:
            where = f"{self.batches}, a .pt file of what came back of each of {saved} batches" if saved else "none"
            print("predictions: " + ", since ".join(filter(None, (where, self.reason))))
        if saved and not columns:
            self.output.unlink(missing_ok=True)  # of an earlier command
        if not columns:
            return columns
        if {"boxes", "labels", "scores"} <= {*columns}:
            self._write_coco()
        if self.path != self.output:
            _write_parquet(self.path, self.output)
        counts = Counter(bool(row.get("error")) for _, row in self.rows())
        unread = f", {counts[True]:,} could not be read: see the column error" if counts[True] else ""
        print(f"predictions: {self.output}, {counts.total():,} rows{unread}")
        return columns

    def save(self, returned: Any, batch_idx: int, reason: str) -> None:
        """Save what `predict_step` returned of a batch, as plain data where it can be; None needs no file."""
        self.reason = self.reason or reason
        if returned is not None:
            found = named_parts(returned) or returned
            found = apply_to_collection(found, Tensor, lambda part: part.cpu().clone())  # not all that it is a part of
            with suppress(RunFailure):
                found = to_plain({"": found})[""]
            name = f"{(self._first + batch_idx) * self.world_size + self.rank:06}.pt"
            torch.save(found, self.folder("batches") / name)

    def save_mask(self, name: str, result: Any) -> dict[str, str]:
        """Save the mask of a result that has one; return its column."""
        if not hasattr(result, "mask"):
            return {}
        path = str(self.folder("masks") / name)
        result.image().save(path)
        return {"mask": path}

    def save_parts(self, name: str, parts: Iterator[Any], size: tuple[int, int]) -> dict[str, Any]:
        """Save the mask of an image from results of some rows each, and return its columns; boxes come at once.

        The rows of the PNG file need not be in memory together, as Pillow wants them.
        """
        if not hasattr(first := next(parts), "mask"):
            return dict(first.columns())
        path, packer, means = self.folder("masks") / name, zlib.compressobj(), Counter[str]()
        with path.open("wb") as file:

            def write(kind: bytes, content: bytes) -> None:
                checksum = struct.pack(">I", zlib.crc32(kind + content))
                file.write(struct.pack(">I", len(content)) + kind + content + checksum)

            file.write(b"\x89PNG\r\n\x1a\n")
            write(b"IHDR", struct.pack(">2I5B", size[1], size[0], 8, 3, 0, 0, 0))  # 8 bits, with a palette
            write(b"PLTE", bytes(value for k in range(256) for value in color_of(k)))
            for part in chain([first], parts):
                rows = nn.functional.pad(part.mask, (1, 0))  # a row begins with how it is filtered: not at all
                write(b"IDAT", packer.compress(rows.numpy().tobytes()))
                means.update({key: value * len(rows) / size[0] for key, value in part.columns().items()})
            write(b"IDAT", packer.flush())
            write(b"IEND", b"")
        return {"mask": str(path), **means}

    def folder(self, kind: str) -> Path:
        """Return the folder of the table's pictures of one kind."""
        folder = self.output.with_name(f"{self.output.stem}_{kind}")
        folder.mkdir(exist_ok=True)
        return folder

    def _write_coco(self) -> None:
        """Write the boxes of all rows as results in COCO's format: corner, width and height."""
        numbers, ids = self.category_ids, self.image_ids

        def boxes() -> Iterator[dict[str, Any]]:
            for index, row in self.rows():
                found = zip(*(row.get(key, ()) for key in ("boxes", "labels", "scores")), strict=True)
                for (x1, y1, x2, y2), label, score in found:
                    category = numbers[label] if label in numbers else int(label)
                    box = {"image_id": ids.get(row["input"], index), "category_id": category}
                    yield box | {"bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}

        images = ({"id": ids.get(row["input"], index), "file_name": str(row["input"])} for index, row in self.rows())
        categories = ({"id": number, "name": name} for name, number in numbers.items())
        lists = {"images": images, "annotations": boxes(), "categories": categories}
        with self.output.with_suffix(".coco.json").open("w", encoding="utf-8") as file:  # all of it may be too much
            for name, items in lists.items():
                file.write(f'{"{" if items is images else ", "}"{name}": [')
                file.writelines(f"{', ' if number else ''}{json.dumps(item)}" for number, item in enumerate(items))
                file.write("]")
            file.write("}")


def _count_rows(part: Path, command: str) -> int:
    """Return how many rows of the same command a part holds whole."""
    if not part.is_file():
        return 0
    with part.open("rb") as file:
        return sum(line.endswith(b"\n") for line in file) if file.readline() == f"{command}\n".encode() else 0


def _write_parquet(table: Path, output: Path) -> None:
    """Turn a CSV file into Parquet, some rows at a time."""
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    with arrow_csv.open_csv(table) as reader, parquet.ParquetWriter(output, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)
    table.unlink()
