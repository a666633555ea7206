import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from trainworks.errors import UsageError


class OutsideDataset(Dataset[Any]):
    """Inputs from outside the data, read when asked for; a sample is (input, "") or (None, why it cannot be read).

    Args:
        reader: Its `read` reads one of them; see `InputReader`.
        sources: What it reads, such as paths.
    """

    def __init__(self, reader: Any, sources: Sequence[Any]) -> None:
        self.reader, self.sources = reader, sources

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> tuple[Any, str]:
        try:
            return self.reader.read(self.sources[index]), ""
        except UsageError as error:
            return None, str(error)


def collate_outside(samples: list[tuple[Any, str]]) -> tuple[Any, list[str]]:
    """Join the inputs that could be read, a list where their sizes differ; keep the reasons of all."""
    inputs = [item for item, _ in samples if item is not None]
    same = len({item.shape for item in inputs}) == 1
    return torch.stack(inputs) if same else inputs, [error for _, error in samples]


def serve_outside(data: Any, sources: Sequence[Any]) -> None:
    """Let a datamodule predict on these sources, and on nothing else; its `errors` are those of the last batch."""
    reader = copy.copy(data)
    reader.trainer = None  # a copy for the loader's workers

    def take(batch: Any, dataloader_idx: int) -> Any:
        inputs, data.errors = batch
        return data.transformed(inputs)

    data.splits = {"predict": OutsideDataset(reader, sources)}
    data.collate, data.errors, data.on_after_batch_transfer = collate_outside, [], take
