from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainworks.datamodules.arrays import TabularDataModule
from trainworks.datamodules.datasets.array_dataset import ArrayDataset
from trainworks.models.base import BaseModule
from trainworks.models.checks import inputs_and_targets
from trainworks.models.results import ValueResult


class Rescaled(nn.Module):
    """A network whose outputs are brought to the units of the targets, which the data tells."""

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.net(inputs) * self.std + self.mean


class RegressorModule(BaseModule):
    """Numbers for each sample, in the targets' own units."""

    def step(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        inputs, targets = inputs_and_targets(batch)
        predictions = self.net(inputs).reshape(targets.shape)
        return self.loss(predictions, targets), predictions, targets

    def outputs(self, inputs: Tensor) -> Tensor:
        return self.net(inputs).flatten(1)

    def results(self, predictions: Tensor, class_names: list[str] | None) -> list[ValueResult]:
        rows = predictions.reshape(len(predictions), -1).tolist()
        names = class_names or [str(k) for k in range(len(rows[0]))]
        return [ValueResult(row[0] if len(row) == 1 else dict(zip(names, row, strict=True))) for row in rows]


@dataclass(kw_only=True, eq=False, repr=False)
class DiabetesDataModule(TabularDataModule):
    """Scikit-learn's 442 patients, ten measurements each; a fixed fifth of them is the test set."""

    test_fraction: float = 0.2

    def load_splits(self) -> dict[str, ArrayDataset]:  # type: ignore[override]
        from sklearn.datasets import load_diabetes

        inputs, targets = load_diabetes(return_X_y=True)
        return {"all": ArrayDataset(torch.from_numpy(inputs).float(), torch.from_numpy(targets).float())}
