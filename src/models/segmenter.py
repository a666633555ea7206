from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassJaccardIndex

from trainworks import BaseModule, MaskResult, UsageError, inputs_and_targets

IGNORED = 255  # the class of pixels that count for nothing, as in PASCAL VOC and torch's usual ignore_index
AUX_WEIGHT = 0.5  # of the auxiliary head, as where torchvision trained its own


class SegmenterModule(BaseModule):
    """Semantic segmentation: each pixel has one of K classes.

    The network maps images of shape (B, C, H, W) to logits of shape (B, K, H, W), or to a dictionary with these as
    "out", as torchvision's do; the loss of its auxiliary head "aux", if it has one, is added with a factor of 0.5. A
    batch is (images, masks) with masks of integers, shape (B, H, W) or (B, 1, H, W). The loss gets logits and masks:
    torch.nn.CrossEntropyLoss with `ignore_index: 255`, or one of another library such as
    segmentation_models_pytorch.losses.DiceLoss with `{mode: multiclass, ignore_index: 255}`.

    Raises:
        UsageError: If masks are colours and not classes.
    """

    def step(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return loss, logits (B, K, H, W) and masks (B, H, W) of one batch."""
        images, masks = inputs_and_targets(batch)
        if masks[0].numel() != masks.shape[-2:].numel():
            wanted = "a class for each pixel, shape (B, H, W) or (B, 1, H, W)"
            how = "classes of whole images are for a classifier"
            how = "make colours classes in the dataset" if masks.ndim > 2 else how
            raise UsageError(f"masks must hold {wanted}, got {tuple(masks.shape)}; {how}")
        masks = masks.reshape(len(masks), *masks.shape[-2:]).long()
        outputs = self.net(images)
        if isinstance(outputs, Tensor):
            return self.loss(outputs, masks), outputs, masks
        loss = self.loss(outputs["out"], masks)
        if "aux" in outputs:
            loss = loss + AUX_WEIGHT * self.loss(outputs["aux"], masks)
        return loss, outputs["out"], masks

    def forward(self, inputs: Any) -> Any:
        """Map images (B, C, H, W) to logits (B, K, H, W), or a list of images (C, H, W) to a list of logits."""
        if isinstance(inputs, list):
            return [self(image[None])[0] for image in inputs]
        outputs = self.net(inputs)
        return outputs if isinstance(outputs, Tensor) else outputs["out"]

    def figure_metrics(self, num_classes: int | None) -> dict[str, Metric]:
        """Return what shows which classes are taken for which."""
        if num_classes is None:
            return {}
        options: dict[str, Any] = {"ignore_index": IGNORED, "validate_args": False}
        return {
            "confusion_matrix": MulticlassConfusionMatrix(num_classes, normalize="true", **options),
            "iou_by_class": MulticlassJaccardIndex(num_classes, average=None, **options),
        }

    def outputs(self, images: Tensor) -> Tensor:
        """Return the probability of each class for each pixel, shape (B, K, H, W)."""
        probabilities: Tensor = self(images).softmax(dim=1)
        return probabilities

    def results(self, predictions: Any, class_names: list[str] | None) -> list[MaskResult]:
        """Return a mask for the logits of each image, shape (K, H, W)."""
        results = []
        for logits in predictions:
            probabilities, classes = logits.float().softmax(dim=0).max(dim=0)
            names = class_names or [str(k) for k in range(len(logits))]
            results.append(MaskResult(classes.to(torch.uint8).cpu(), probabilities.mean().item(), names))
        return results
