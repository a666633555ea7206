from typing import Any

from torch import Tensor

from src.models.networks.rescaled import Rescaled
from trainworks import BaseModule, inputs_and_targets


class RegressorModule(BaseModule):
    """Regression: each sample has one number, or K of them.

    The network maps inputs to numbers of shape (B, K), or (B, 1) for one target; a batch is (inputs, targets) with
    targets of shape (B, K) or (B,). In a `Rescaled` network both are divided by the targets' deviations before they
    enter the loss, so that a learning rate, a Huber loss's delta and the weight of each target do not depend on units.
    Metrics and predictions are in the targets' own units.
    """

    def step(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return loss, predictions and targets of one batch."""
        inputs, targets = inputs_and_targets(batch)
        predictions = self.net(inputs).reshape(targets.shape)
        unit = self.net.std if isinstance(self.net, Rescaled) else 1.0
        return self.loss(predictions / unit, targets / unit), predictions, targets

    def outputs(self, inputs: Tensor) -> Tensor:
        """Return the numbers of each input, shape (B, K)."""
        return self.net(inputs).flatten(1)

    def answer(self, inputs: Tensor, names: list[str] | None) -> list[Any]:
        """Return the number of each input, or its numbers by the names of the targets."""
        from trainworks import ValueResult  # a training needs none

        rows = self.outputs(inputs).tolist()
        several = names or [str(k) for k in range(len(rows[0]))]
        return [ValueResult(row[0] if len(row) == 1 else dict(zip(several, row, strict=True))) for row in rows]

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """Return the prediction and, where the batch has it, the target; each of shape (B,) or (B, K)."""
        inputs, *targets = batch if isinstance(batch, tuple | list) else (batch,)
        predictions = self.net(inputs)
        if not targets:
            return {"prediction": predictions}
        return {"prediction": predictions.reshape(targets[0].shape), "target": targets[0]}
