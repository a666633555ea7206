from typing import Any

import torch
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision

from trainworks import BaseModule, BoxResult, UsageError, dense_detections

Detections = list[dict[str, Tensor]]
UNLOGGED = ("map_small", "map_medium", "map_large", "mar_")  # of the many values of MeanAveragePrecision


class DetectorModule(BaseModule):
    """Object detection: boxes with a class each, by a network of torchvision.models.detection or one like it.

    A batch is (images, targets): a list of images of shape (C, H, W), values in [0, 1], and a list of dictionaries with
    boxes (corners x1, y1, x2, y2 in pixels, shape (M, 4)) and labels (shape (M,), from 1; 0 is background). An image
    without objects may lack both. The network returns its loss terms by name in training, detections (boxes, scores and
    labels) otherwise; `loss` combines the terms, see SumOfTerms in src/models/losses.

    So that val/loss exists as everywhere, validation and test batches go through the network twice; norm and dropout
    layers stay in eval mode. In training `metrics` take such a second pass too: set `train_metrics: false` to save it.
    Of MeanAveragePrecision (torchmetrics.detection) map, map_50 and map_75 are logged, with `class_metrics: true` also
    map_per_class of each class.
    """

    threshold: float = 0.5  # score from which a detection counts

    def step(self, batch: tuple[Any, Detections]) -> tuple[Tensor, Detections, Detections]:
        """Return loss, detections (none in training without train metrics) and targets of one batch."""
        images, targets = batch
        if not isinstance(targets, list):
            got = f"got a {type(targets).__name__}; masks are for configs/segmentation.yaml"
            raise UsageError(f"DetectorModule needs a dictionary of boxes and labels for each image, {got}")
        targets = [target if "boxes" in target else target | _nothing(images[0]) for target in targets]
        if self.training:
            terms = self.net(images, targets)
            found = self._in_other_mode(images) if self.train_metrics else []
        else:
            found = self.net(images)
            terms = self._in_other_mode(images, targets)
        return self.loss(terms, targets), found, targets

    def forward(self, inputs: Any) -> Detections:
        """Return the detections of each image."""
        return self.net(list(inputs))

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        """Return boxes (x1, y1, x2, y2 in pixels), labels, scores from the threshold on, and `count` of them."""
        return dense_detections(self.net, images, self.threshold)

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        """Return what is found in each image; a batch begins with a list of images, or is the images alone."""
        return super().predict_step(batch if isinstance(batch[-1], list) else (batch,), batch_idx)

    def results(self, predictions: Detections, class_names: list[str] | None) -> list[BoxResult]:
        """Return what is found in each image with a score of at least the threshold."""
        names, results = class_names or [], []
        for item in predictions:
            sure = item["scores"] >= self.threshold
            labels = [names[k] if k < len(names) else str(k) for k in item["labels"][sure].tolist()]
            results.append(BoxResult(item["boxes"][sure].cpu(), labels, item["scores"][sure].tolist()))
        return results

    def logged_names(self, name: str) -> list[str]:
        """Announce those values of MeanAveragePrecision that are logged."""
        names = super().logged_names(name)
        if any(isinstance(metric, MeanAveragePrecision) for metric in self.metrics_of(name).values()):
            names = [item for item in names if not item.removeprefix(f"{name}/").startswith(UNLOGGED)]
        return names

    def epoch_results(self, name: str) -> dict[str, Tensor]:
        """Leave out what is not announced, such as precisions by size."""
        results, names = super().epoch_results(name), self.logged_names(name)
        return {name: value.to(self.device) for name, value in results.items() if name in names}

    def _in_other_mode(self, *inputs: Any) -> Any:
        """Run the network as if it was training when it is not, or the other way round, and leave no trace.

        Torchvision's detectors look at `training` in modules that hold others; single layers, such as batch norm and
        dropout, are in eval mode either way.
        """
        training = self.training
        modes = [(module, module.training) for module in self.net.modules()]
        try:
            for module, _ in modes:
                module.training = not training and next(module.children(), None) is not None
            with torch.no_grad():
                return self.net(*inputs)
        finally:
            for module, mode in modes:
                module.training = mode


def _nothing(image: Tensor) -> dict[str, Tensor]:
    """Return what torchvision's CocoDetection leaves out where an image has no boxes."""
    return {"boxes": image.new_zeros(0, 4), "labels": image.new_zeros(0, dtype=torch.long)}
