from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MultilabelConfusionMatrix, MultilabelPrecisionRecallCurve

from trainworks import BaseModule, inputs_and_targets


class MultilabelModule(BaseModule):
    """Multi-label classification: each of K labels is there or not, whatever the others are.

    The network maps inputs to logits of shape (B, K); a batch is (inputs, targets) with targets of shape (B, K), 1 for
    the labels that are there and 0 for the others. The loss, such as torch.nn.BCEWithLogitsLoss, gets logits and
    targets of float; the metrics get probabilities, and targets of 0 and 1.
    """

    def step(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return loss, probabilities and targets of one batch."""
        inputs, targets = inputs_and_targets(batch)
        logits = self.net(inputs)
        present = (targets > 0.5).long()  # MixUp makes them soft
        return self.loss(logits, targets.float()), torch.sigmoid(logits), present

    def figure_metrics(self, num_classes: int | None) -> dict[str, Metric]:
        """Return what shows the errors label by label."""
        if num_classes is None:
            return {}
        return {
            "confusion_matrix": MultilabelConfusionMatrix(num_classes, normalize="true", validate_args=False),
            "precision_recall": MultilabelPrecisionRecallCurve(num_classes, thresholds=50, validate_args=False),
        }

    def outputs(self, inputs: Tensor) -> Tensor:
        """Return the probability of each label, shape (B, K)."""
        return torch.sigmoid(self.net(inputs))

    def answer(self, inputs: Tensor, names: list[str] | None) -> list[Any]:
        """Return which labels each input has."""
        from trainworks import LabelsResult  # a training needs none

        probabilities = self.outputs(inputs)
        names = names or [str(k) for k in range(probabilities.shape[1])]
        found = [dict(zip(names, row, strict=True)) for row in probabilities.tolist()]
        return [LabelsResult([name for name, value in row.items() if value > 0.5], row) for row in found]

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """Return each label's prediction, 0 or 1, its probability and, where the batch has it, the target; (B, K)."""
        inputs, *targets = batch if isinstance(batch, tuple | list) else (batch,)
        probability = torch.sigmoid(self.net(inputs))
        columns = {"prediction": (probability > 0.5).long(), "probability": probability}
        return columns | ({"target": targets[0]} if targets else {})
