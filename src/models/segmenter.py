from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassJaccardIndex

from trainworks import BaseModule, UsageError, inputs_and_targets

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
            raise UsageError(f"masks must hold {wanted}, got {tuple(masks.shape)}; make colours classes in the dataset")
        masks = masks.reshape(len(masks), *masks.shape[-2:]).long()
        outputs = self.net(images)
        if isinstance(outputs, Tensor):
            return self.loss(outputs, masks), outputs, masks
        loss = self.loss(outputs["out"], masks)
        if "aux" in outputs:
            loss = loss + AUX_WEIGHT * self.loss(outputs["aux"], masks)
        return loss, outputs["out"], masks

    def forward(self, inputs: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, K, H, W)."""
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
        return self(images).softmax(dim=1)

    def answer(self, images: Any, names: list[str] | None) -> list[Any]:
        """Return the mask of each image."""
        from trainworks import MaskResult  # a training needs none

        batches = [images] if isinstance(images, Tensor) else [image[None] for image in images]
        results = []
        for batch in batches:
            probabilities, classes = self.outputs(batch).max(dim=1)
            masks, confidence = classes.to(torch.uint8).cpu(), probabilities.mean(dim=(1, 2)).tolist()
            results += [MaskResult(mask, value, names or []) for mask, value in zip(masks, confidence, strict=True)]
        return results

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """Return each class's share of the pixels, shape (B, K), and the mean probability of the pixels' classes."""
        images = batch[0] if isinstance(batch, tuple | list) else batch
        logits = self(images)
        probabilities, classes = logits.softmax(dim=1).max(dim=1)
        shares = nn.functional.one_hot(classes.flatten(1), logits.shape[1]).float().mean(dim=1)
        return {"share": shares, "confidence": probabilities.mean(dim=(1, 2))}
