from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassPrecisionRecallCurve
from torchmetrics.wrappers import LambdaInputTransformer

from trainworks import BaseModule, ClassResult, ReliabilityDiagram, UsageError, check_takes_two, inputs_and_targets


class ClassifierModule(BaseModule):
    """Image classification: each sample has one of K classes.

    The network maps images of shape (B, C, H, W) to logits of shape (B, K); a batch is (images, targets) with targets
    of shape (B,) and values in [0, K). MixUp and CutMix make targets soft, shape (B, K): the loss takes them as they
    are, the metrics the class with the greatest share.
    """

    _targets_checked = False
    temperature = 1.0  # that logits are divided by in evaluation, of validate --calibrate true
    threshold: float | None = None  # above which the second of two classes is chosen; None for the likeliest class

    def setup(self, stage: str) -> None:
        """Check the loss before the first step, where there is one."""
        if hasattr(self, "loss"):
            check_takes_two(self.loss)

    def step(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return loss, logits and classes of one batch."""
        images, targets = inputs_and_targets(batch)
        if not self._targets_checked:
            self._check(targets)
        logits = self._calibrated(self.net(images))
        classes = targets.argmax(dim=1) if targets.ndim == 2 else targets
        return self.loss(logits, targets), logits, classes

    def _check(self, targets: Tensor) -> None:
        """Refuse targets that are not one class a sample; only once, since it waits for the device."""
        self._targets_checked, others = True, ""
        if targets.ndim > 2:
            others = "masks are for configs/segmentation.yaml"
        elif targets.ndim == 1 and targets.is_floating_point():
            others = "values are for configs/diabetes.yaml"
        elif targets.ndim == 2 and targets.shape[1] > 1 and (targets.sum(dim=1) - 1).abs().max() > 0.01:
            others = "several labels a sample are for configs/multilabel.yaml"
        if others:
            got = f"targets of {str(targets.dtype).removeprefix('torch.')} {tuple(targets.shape)}"
            raise UsageError(f"ClassifierModule needs one class a sample, or shares of classes; got {got}; {others}")

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of images, divided by the temperature, shape (B, K)."""
        return self._calibrated(self.net(inputs))

    def _calibrated(self, logits: Tensor) -> Tensor:
        return logits if self.temperature == 1 else logits / self.temperature

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take over the temperature; a training that goes on begins without one."""
        super().on_load_checkpoint(checkpoint)
        self.temperature = 1.0 if self.is_training_run else checkpoint.get("temperature", 1.0)

    def figure_metrics(self, num_classes: int | None) -> dict[str, Metric]:
        """Return what shows a classifier's errors."""
        if num_classes is None:
            return {}
        at: Any = torch.nn.Identity() if self.threshold is None else lambda m: LambdaInputTransformer(m, self.decided)
        return {
            "confusion_matrix": at(MulticlassConfusionMatrix(num_classes, normalize="true", validate_args=False)),
            "accuracy_by_class": at(MulticlassAccuracy(num_classes, average=None, validate_args=False)),
            "precision_recall": MulticlassPrecisionRecallCurve(num_classes, thresholds=50, validate_args=False),
            "calibration": ReliabilityDiagram(),
        }

    def outputs(self, images: Tensor) -> Tensor:
        """Return the probability of each class, shape (B, K)."""
        return torch.softmax(self(images), dim=1)

    def decided(self, logits: Tensor) -> Tensor:
        """Return the class of each sample, shape (B,)."""
        probabilities = logits.float().softmax(dim=1)
        return probabilities.argmax(dim=1) if self.threshold is None else (probabilities[:, 1] > self.threshold).long()

    def results(self, predictions: Tensor, class_names: list[str] | None) -> list[ClassResult]:
        """Return the class for logits, shape (B, K), and the probability of each."""
        probabilities = predictions.float().softmax(dim=1)
        names = class_names or [str(k) for k in range(probabilities.shape[1])]
        pairs = zip(self.decided(predictions).tolist(), probabilities.tolist(), strict=True)
        return [ClassResult(names[k], row[k], dict(zip(names, row, strict=True))) for k, row in pairs]
