from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassPrecisionRecallCurve

from trainworks.models.base import BaseModule
from trainworks.models.checks import check_takes_two, inputs_and_targets
from trainworks.models.metrics import ReliabilityDiagram
from trainworks.models.results import ClassResult


class ClassifierModule(BaseModule):
    """Classification, with soft targets and a temperature."""

    temperature = 1.0
    threshold: float | None = None

    def setup(self, stage: str) -> None:
        if hasattr(self, "loss"):
            check_takes_two(self.loss)

    def step(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        images, targets = inputs_and_targets(batch)
        logits = self.net(images) / self.temperature
        classes = targets.argmax(dim=1) if targets.ndim == 2 else targets
        return self.loss(logits, targets), logits, classes

    def forward(self, inputs: Tensor) -> Tensor:
        outputs = self.net(inputs)  # of a detector or a segmenter no tensor
        return outputs if self.temperature == 1 else outputs / self.temperature

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.temperature = 1.0 if self.is_training_run else checkpoint.get("temperature", 1.0)

    def figure_metrics(self, num_classes: int | None) -> dict[str, Metric]:
        if num_classes is None:
            return {}
        return {
            "confusion_matrix": MulticlassConfusionMatrix(num_classes, normalize="true", validate_args=False),
            "accuracy_by_class": MulticlassAccuracy(num_classes, average=None, validate_args=False),
            "precision_recall": MulticlassPrecisionRecallCurve(num_classes, thresholds=50, validate_args=False),
            "calibration": ReliabilityDiagram(),
        }

    def outputs(self, images: Tensor) -> Tensor:
        """Return the probability of each class, shape (B, K)."""
        return torch.softmax(self(images), dim=1)

    def results(self, predictions: Tensor, class_names: list[str] | None) -> list[ClassResult]:
        probabilities = predictions.float().softmax(dim=1)
        names = class_names or [str(k) for k in range(probabilities.shape[1])]
        rows = [dict(zip(names, row, strict=True)) for row in probabilities.tolist()]
        labels = [max(row, key=row.__getitem__) for row in rows]
        if self.threshold is not None:
            labels = [names[row[names[1]] > self.threshold] for row in rows]
        return [ClassResult(label, row[label], row) for label, row in zip(labels, rows, strict=True)]
