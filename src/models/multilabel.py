import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MultilabelConfusionMatrix, MultilabelPrecisionRecallCurve

from trainworks import BaseModule, LabelsResult, UsageError, inputs_and_targets


class MultilabelModule(BaseModule):
    """Multi-label classification: each of K labels is there or not, whatever the others are.

    The network maps inputs to logits of shape (B, K); a batch is (inputs, targets) with targets of shape (B, K), 1 for
    the labels that are there and 0 for the others. The loss, such as torch.nn.BCEWithLogitsLoss, gets logits and
    targets of float; the metrics get probabilities, and targets of 0 and 1.
    """

    threshold: list[float] | None = None  # of each label; None for 0.5

    def step(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return loss, probabilities and targets of one batch."""
        inputs, targets = inputs_and_targets(batch)
        if targets.ndim != 2:
            how = "one class a sample is for ClassifierModule, as in configs/arrays.yaml"
            raise UsageError(f"MultilabelModule needs targets of shape (B, K), got {tuple(targets.shape)}; {how}")
        logits = self.net(inputs)
        present = (targets > 0.5).long()  # MixUp makes them soft
        return self.loss(logits, targets.float()), torch.sigmoid(logits), present

    def figure_metrics(self, num_classes: int | None) -> dict[str, Metric]:
        """Return what shows the errors label by label."""
        if num_classes is None:
            return {}
        limit: float = torch.tensor(self.threshold or 0.5, device=self.device)  # type: ignore[assignment]
        return {
            "confusion_matrix": MultilabelConfusionMatrix(num_classes, limit, normalize="true", validate_args=False),
            "precision_recall": MultilabelPrecisionRecallCurve(num_classes, thresholds=50, validate_args=False),
        }

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the probability of each label, shape (B, K)."""
        return torch.sigmoid(self.net(inputs))

    outputs = forward

    def results(self, predictions: Tensor, class_names: list[str] | None) -> list[LabelsResult]:
        """Return which labels are there for probabilities, shape (B, K)."""
        names = class_names or [str(k) for k in range(predictions.shape[1])]
        limits = dict(zip(names, self.threshold or [0.5] * len(names), strict=True))
        found = [dict(zip(names, row, strict=True)) for row in predictions.tolist()]
        return [LabelsResult([name for name, value in row.items() if value > limits[name]], row) for row in found]
