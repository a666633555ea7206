from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from trainworks.datamodules.base import BaseDataModule
from trainworks.datamodules.datasets.tables import TableRows
from trainworks.errors import UsageError


@dataclass(kw_only=True, eq=False, repr=False)
class NewInputsDataModule(BaseDataModule):
    """Inputs from outside the data, read and transformed as those that a module was trained on."""

    reader: BaseDataModule  # of the training; it need not be loaded
    inputs: Sequence[Any]  # what its `read` reads one by one, such as paths

    def __post_init__(self) -> None:
        super().__post_init__()
        self.eval_transform, self.class_names = self.reader.eval_transform, self.reader.class_names
        dataset = NewInputsDataset(self.reader, self.inputs)
        self.splits, self.collate = {"predict": dataset}, dataset.collate
        self.errors: list[str] = []  # of the last batch, "" for an input that could be read

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Transform the inputs and keep the reasons of those that could not be read."""
        inputs, self.errors = batch
        if isinstance(inputs, list):
            inputs = self.transformed(inputs)
        else:  # beside targets, as in the training
            inputs = super().on_after_batch_transfer((inputs, torch.zeros(1)), dataloader_idx)[0]
        return self.batch_for(self.trainer.lightning_module, inputs)  # type: ignore[union-attr]


class NewInputsDataset(Dataset[Any]):
    """Inputs that `reader.read` reads when asked for; a sample is (input, "") or (None, why it cannot be read)."""

    def __init__(self, reader: Any, inputs: Sequence[Any]) -> None:
        self.reader, self.inputs = reader, inputs

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Any, str]:
        try:
            return self.reader.read(self.inputs[index]), ""
        except UsageError as error:
            return None, str(error)
        except (OSError, ValueError, LookupError) as error:  # of a `read` of somebody else
            return None, f"{type(error).__name__}: {error}"

    def name(self, index: int) -> str | None:
        """Return the path or the text of an input; None for the row of a table or an array."""
        source = None if isinstance(self.inputs, TableRows) else self.inputs[index]
        return source if isinstance(source, str) else None

    def collate(self, samples: list[tuple[Any, str]]) -> tuple[Any, list[str]]:
        """Join the inputs that could be read; keep the reasons of all."""
        readable, errors = [item for item, _ in samples if item is not None], [error for _, error in samples]
        return self.reader.join(readable or [self._blank(errors[0])]), errors

    def _blank(self, reason: str) -> Tensor:
        """Return an input for a batch of which none can be read: a network is run, and nobody reads its result."""
        size = getattr(self.reader.form, "size", 64)
        shape = self.reader.input_shape or [getattr(self.reader.form, "num_channels", 3), size, size]
        dtype = getattr(torch, self.reader.input_dtype or ("uint8" if len(shape) == 3 else "float32"), None)
        if not isinstance(dtype, torch.dtype):
            raise UsageError(reason)
        return torch.zeros([size or 1 for size in shape], dtype=dtype)
