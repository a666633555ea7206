from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from trainworks.datamodules.inputs import joined
from trainworks.errors import UsageError


class NewInputsDataset(Dataset[Any]):
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

    def name(self, index: int) -> str | None:
        """Return the path or the text of an input; None for the row of a table."""
        return self.sources[index] if isinstance(self.sources[index], str) else None

    def collate(self, samples: list[tuple[Any, str]]) -> tuple[Any, list[str]]:
        """Join the inputs that could be read; keep the reasons of all."""
        inputs = [item for item, _ in samples if item is not None]
        return joined(inputs or [self._blank()]), [error for _, error in samples]

    def _blank(self) -> Tensor:
        """Return an input for a batch of which none can be read: a network is run, and nobody reads its result."""
        size = getattr(self.reader.form, "size", 64)
        shape = self.reader.input_shape or [getattr(self.reader.form, "num_channels", 3), size, size]
        return torch.zeros(shape, dtype=torch.uint8 if len(shape) == 3 else torch.float32)
