import csv
import glob
import hashlib
import heapq
import json
import os
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter

from trainworks.callbacks.helpers.drawing import denormalize, draw_target
from trainworks.errors import UsageError


class ResultWriter(BasePredictionWriter):
    """Write a row for each input that `predict --input` answers, as they come, and at the end all in their order.

    Each process appends to a file of its own. A command that was killed goes on after the rows that are there.

    Args:
        path: The table, .csv or .parquet. Masks and drawn images stand in folders beside it, boxes in a COCO file.
        sources: What each input is called, in order.
        top_k: Classes in a row, the likeliest first.
        probabilities: Whether a row has the probability of every class.
        draw: Whether to draw masks and boxes over the images.
    """

    def __init__(
        self, path: Path, sources: Sequence[Any], top_k: int = 1, probabilities: bool = False, draw: bool = False
    ) -> None:
        super().__init__(write_interval="batch")
        if path.suffix.lower() not in (".csv", ".parquet"):
            raise UsageError(f"--output must end in .csv or .parquet, got {path}")
        if path.suffix.lower() == ".parquet" and find_spec("pyarrow") is None:
            raise UsageError(f"--output {path} needs the package pyarrow; write pip install pyarrow")
        self.path, self.sources = path, sources
        self.top_k, self.probabilities, self.draw = top_k, probabilities, draw

    def begin(self, key: list[str], batch_size: int, trainer: Trainer) -> int:
        """Prepare this process's file; return how many inputs, in whole batches, a command that was killed has done."""
        digest = hashlib.sha256("\0".join([*key, str(len(self.sources))]).encode())
        for name in map(str, self.sources):
            digest.update(f"{name}\0".encode(errors="surrogateescape"))
        rank, world = trainer.global_rank, trainer.world_size
        self._parts = [self.path.with_name(f"{self.path.name}.part{number}") for number in range(world)]
        head = digest.hexdigest() + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        counts = [_whole_rows(part, head) for part in self._parts]
        share = max(batch_size // world, 1)
        each = min(counts) // share * share  # of every process
        self._file = _opened(self._parts[rank], head, each)
        self._skipped = each * world
        return min(self._skipped, len(self.sources))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the file."""
        self._file.close()

    def write_on_batch_end(
        self, trainer: Any, pl_module: Any, prediction: Any, batch_indices: Any, batch: Any, *numbers: int
    ) -> None:
        """Append a row for each input of a batch, with what it is or why it could not be read."""
        found = iter(enumerate(prediction))
        for index, error in zip(batch_indices, trainer.datamodule.errors, strict=True):
            number = int(index) + self._skipped
            row: dict[str, Any] = {"index": number, "error": error}
            if not error:
                place, result = next(found)
                name = f"{number:06}-{Path(str(self.sources[number])).stem[:50]}"
                row["result"] = self._row(result, name)
                if self.draw:
                    self._draw(result, batch[place], trainer, name)
            self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the rows of all processes together, in order, and remove their files."""
        os.fsync(self._file.fileno())
        self._file.close()
        trainer.strategy.barrier()
        if not trainer.is_global_zero:
            return
        columns = next((list(row["result"]) for row in _merged(self._parts) if "result" in row), [])
        table = self.path if self.path.suffix.lower() == ".csv" else self.path.with_name(f"{self.path.name}.csv")
        temporary = table.with_name(f"{table.name}.tmp")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["input", *columns, "error"], extrasaction="ignore")
            writer.writeheader()
            for row in _merged(self._parts):
                source = self.sources[row["index"]]  # a table's rows are called by their numbers
                name = {"input": source if isinstance(source, str) else row["index"], "error": row["error"]}
                writer.writerow(name | row.get("result", {}))
        os.replace(temporary, table)
        if "boxes" in columns:
            self._write_coco(pl_module)
        if table != self.path:
            _to_parquet(table, self.path)
        for part in self.path.parent.glob(f"{glob.escape(self.path.name)}.part*"):
            part.unlink()
        print(f"predictions: {self.path}")

    def _row(self, result: Any, name: str) -> dict[str, Any]:
        """Return the columns of one result."""
        if isinstance(result, dict):
            return result
        row: dict[str, Any] = {}
        if hasattr(result, "top"):
            for place, (label, value) in enumerate(result.top(self.top_k)):
                ending = f"_{place + 1}" if place else ""
                row |= {f"class{ending}": label, f"confidence{ending}": value}
        elif hasattr(result, "mask"):
            picture = self._folder("masks") / f"{name}.png"
            result.image().save(picture)
            row = {"mask": str(picture), "confidence": result.confidence}
            row |= {f"share_{label}": share for label, share in result.shares.items()}
        elif hasattr(result, "boxes"):
            row = {"count": len(result.labels), "boxes": result.boxes.tolist()}
            row |= {"labels": result.labels, "scores": result.scores}
        elif hasattr(result, "labels"):
            row = {"labels": ";".join(result.labels)}
        elif hasattr(result, "text"):
            row = {"text": result.text, "bits_per_byte": result.bits_per_byte}
        else:
            row = result.value if isinstance(result.value, dict) else {"value": result.value}
        if self.probabilities and hasattr(result, "probabilities"):
            row |= {f"probability_{label}": value for label, value in result.probabilities.items()}
        return row

    def _draw(self, result: Any, image: Any, trainer: Any, name: str) -> None:
        from torchvision.transforms.v2.functional import to_pil_image

        target = getattr(result, "mask", None)
        if hasattr(result, "boxes"):
            target = {"boxes": result.boxes, "names": result.labels}
        plain = denormalize(image[None], trainer.datamodule.eval_transform)[0].expand(3, -1, -1)
        to_pil_image(draw_target(plain, target)).save(self._folder("drawn") / f"{name}.png")

    def _folder(self, kind: str) -> Path:
        folder = self.path.with_name(f"{self.path.stem}_{kind}")
        folder.mkdir(exist_ok=True)
        return folder

    def _write_coco(self, module: Any) -> None:
        """Write the boxes as results in COCO's format: corner, width and height."""
        names = list(module.class_names or [])

        def boxes() -> Iterator[dict[str, Any]]:
            for row in _merged(self._parts):
                found = row.get("result", {"boxes": [], "labels": [], "scores": []})
                rows = zip(found["boxes"], found["labels"], found["scores"], strict=True)
                for (x1, y1, x2, y2), label, score in rows:
                    category = names.index(label) if label in names else int(label)
                    box = {"image_id": row["index"], "category_id": category, "bbox": [x1, y1, x2 - x1, y2 - y1]}
                    yield box | {"score": score}

        images = ({"id": row["index"], "file_name": str(self.sources[row["index"]])} for row in _merged(self._parts))
        categories = ({"id": number, "name": name} for number, name in enumerate(names))
        lists = {"images": images, "annotations": boxes(), "categories": categories}
        with self.path.with_suffix(".coco.json").open("w", encoding="utf-8") as file:  # all of it may be too much
            for name, items in lists.items():
                file.write(f'{"{" if items is images else ", "}"{name}": [')
                file.writelines(f"{', ' if place else ''}{json.dumps(item)}" for place, item in enumerate(items))
                file.write("]")
            file.write("}")


def _whole_rows(part: Path, head: str) -> int:
    """Return how many rows of the same command a file holds whole."""
    if not part.is_file():
        return 0
    with part.open("rb") as file:
        if file.readline() != head.encode():
            return 0
        return sum(line.endswith(b"\n") for line in file)


def _opened(part: Path, head: str, count: int) -> TextIO:
    """Open a file behind its first rows, and leave nothing else in it."""
    if not count:
        part.write_text(head, encoding="utf-8")
    file = part.open("r+", encoding="utf-8")
    for _ in range(count + 1):
        file.readline()
    file.seek(file.tell())
    file.truncate()
    return file


def _merged(parts: list[Path]) -> Iterator[dict[str, Any]]:
    """Yield the rows of all files in the order of the inputs, one at a time."""
    return heapq.merge(*(_rows(part) for part in parts), key=lambda row: row["index"])


def _rows(part: Path) -> Iterator[dict[str, Any]]:
    with part.open(encoding="utf-8") as file:
        next(file)
        for line in file:
            yield json.loads(line)


def _to_parquet(table: Path, path: Path) -> None:
    """Turn a table into Parquet, some rows at a time."""
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    with arrow_csv.open_csv(table) as reader, parquet.ParquetWriter(path, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)
    table.unlink()
