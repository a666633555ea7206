from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from trainworks.datamodules.base import BaseDataModule
from trainworks.datamodules.datasets.new_inputs import NewInputsDataset


@dataclass(kw_only=True, eq=False, repr=False)
class NewInputsDataModule(BaseDataModule):
    """Inputs from outside the data, read and transformed as those that a module was trained on.

    Args:
        reader: The datamodule of the training; it need not be loaded.
        inputs: What its `read` reads one by one, such as paths.
    """

    reader: BaseDataModule
    inputs: Sequence[Any]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.eval_transform, self.class_names = self.reader.eval_transform, self.reader.class_names
        dataset = NewInputsDataset(self.reader, self.inputs)
        self.splits, self.collate = {"predict": dataset}, dataset.collate
        self.errors: list[str] = []  # of the last batch, "" for an input that could be read

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Transform the inputs and keep the reasons of those that could not be read."""
        inputs, self.errors = batch
        alike = isinstance(inputs, Tensor)
        inputs = super().on_after_batch_transfer(inputs, dataloader_idx) if alike else self.transformed(inputs)
        return self.batch_for(self.trainer.lightning_module, inputs)  # type: ignore[union-attr]
