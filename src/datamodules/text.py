import pydoc_data.topics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainworks import ArrayDataset, BaseDataModule, UsageError, no_such_file


@dataclass(kw_only=True, eq=False, repr=False)
class TextDataModule(BaseDataModule):
    """Windows of a text as bytes; a sample is (inputs, targets) of shape (length,), the targets one byte further.

    Bytes need no vocabulary and no tokenizer. A file is mapped into memory, and may be larger than that. Without a
    file, the text is the language reference inside Python (pydoc_data.topics), about 374,000 bytes of English, each
    paragraph once.

    Args:
        path: A file of text. Its end is the test split and the part before that the validation split, of the sizes that
            `test_fraction` and `val_fraction` state.
        val_path: A file for validation instead; no test split is then cut off either.
        test_path: A file for the test instead.
        predict_path: A file for the command predict.
        length: Bytes of one sample, at least 1.
        stride: Bytes from the start of one training sample to that of the next, at least 1. Below `length` the samples
            overlap, and each byte comes several times an epoch. Validation and test samples never overlap.
    """

    path: str | None = None
    val_path: str | None = None
    test_path: str | None = None
    predict_path: str | None = None
    length: int = 128
    stride: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_at_least(length=1, stride=1)

    def load_splits(self) -> dict[str, ArrayDataset]:  # type: ignore[override]
        """Cut the text into parts, in its order, and each part into windows."""
        paths = {"val": self.val_path, "test": self.test_path, "predict": self.predict_path}
        texts = {name: _read(path) for name, path in paths.items() if path is not None}
        rest = _builtin_text() if self.path is None else _read(self.path)
        if not {"val", "test"} & texts.keys():
            rest, texts["test"] = _cut(rest, self.test_fraction)
        if "val" not in texts:
            rest, texts["val"] = _cut(rest, self.val_fraction)
        texts["train"] = rest
        return {name: self._windows(name, text) for name, text in texts.items() if len(text)}

    def read(self, source: Any) -> Tensor:
        """Return a text as bytes, shape (L,)."""
        if not isinstance(source, str) or not source:
            raise UsageError(f"a text must be a string of at least one character, got {source!r:.80}")
        return torch.frombuffer(bytearray(source, "utf-8"), dtype=torch.uint8)

    def sources(self, given: Any) -> list[Any]:
        """Return texts one by one."""
        return list(given) if isinstance(given, list | tuple) else [given]

    def _windows(self, split: str, text: Tensor) -> ArrayDataset:
        """Return overlapping views of the text; nothing is copied until a batch is gathered."""
        if len(text) <= self.length:
            few = f"too few for samples of data.length {self.length} and one more"
            raise UsageError(f"the {split} text has {len(text):,} bytes, {few}; give a longer text or a smaller length")
        windows = text.unfold(0, self.length + 1, self.stride if split == "train" else self.length)
        return ArrayDataset(windows[:, :-1], windows[:, 1:])


def _read(path: str) -> Tensor:
    """Map a file, uint8 of shape (N,)."""
    if not Path(path).is_file():
        raise UsageError(f"{path}: {no_such_file(Path(path))}")
    if not Path(path).stat().st_size:
        raise UsageError(f"{path}: the file is empty; give one with text")
    return torch.from_numpy(np.memmap(path, dtype=np.uint8, mode="c"))  # "c": torch wants to be able to write


def _builtin_text() -> Tensor:
    """Return Python's own reference, each paragraph once."""
    paragraphs = "\n\n".join(pydoc_data.topics.topics.values()).split("\n\n")
    return torch.frombuffer(bytearray("\n\n".join(dict.fromkeys(paragraphs)), "utf-8"), dtype=torch.uint8)


def _cut(text: Tensor, fraction: float) -> tuple[Tensor, Tensor]:
    """Cut a fraction off the end of a text."""
    length = len(text) - round(len(text) * fraction)
    return text[:length], text[length:]
