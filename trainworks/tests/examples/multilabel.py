from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from trainworks.datamodules.datasets.array_dataset import ArrayDataset
from trainworks.models.base import BaseModule
from trainworks.models.checks import inputs_and_targets
from trainworks.models.results import LabelsResult
from trainworks.tests.examples.digits import DigitsDataModule


class MultilabelModule(BaseModule):
    """Each of several labels is there or not."""

    threshold: list[float] | None = None

    def step(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        inputs, targets = inputs_and_targets(batch)
        logits = self.net(inputs)
        return self.loss(logits, targets.float()), torch.sigmoid(logits), targets.long()

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.sigmoid(self.net(inputs))

    outputs = forward

    def results(self, predictions: Tensor, class_names: list[str] | None) -> list[LabelsResult]:
        names = class_names or [str(k) for k in range(predictions.shape[1])]
        found = [dict(zip(names, row, strict=True)) for row in predictions.tolist()]
        limits = dict(zip(names, self.threshold or [0.5] * len(names), strict=True))
        return [LabelsResult([name for name, value in row.items() if value > limits[name]], row) for row in found]


@dataclass(kw_only=True, eq=False, repr=False)
class DigitPairsDataModule(DigitsDataModule):
    """Each digit beside the one that follows it, 8x16 pixels; the targets say for each class whether it is there."""

    def load_splits(self) -> dict[str, ArrayDataset]:  # type: ignore[override]
        digits = super().load_splits()["all"]
        images = torch.cat([digits.inputs, digits.inputs.roll(-1, 0)], dim=-1)
        present = one_hot(digits.targets, 10) | one_hot(digits.targets.roll(-1), 10)
        return {"all": ArrayDataset(images, present.float(), classes=[str(digit) for digit in range(10)])}
