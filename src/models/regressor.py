from torch import Tensor

from src.models.networks.rescaled import Rescaled
from trainworks import BaseModule, ValueResult, inputs_and_targets


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

    def results(self, predictions: Tensor, class_names: list[str] | None) -> list[ValueResult]:
        """Return the number of each input, or its numbers by the names of the targets."""
        rows = predictions.flatten(1).tolist() if predictions.ndim > 1 else predictions[:, None].tolist()
        several = class_names or [str(k) for k in range(len(rows[0]))]
        return [ValueResult(row[0] if len(row) == 1 else dict(zip(several, row, strict=True))) for row in rows]
