import math
from typing import Any

import matplotlib.pyplot as plt
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn

from trainworks.callbacks.helpers.batch import inputs_of
from trainworks.callbacks.helpers.media import denormalize, draw_target
from trainworks.callbacks.helpers.undisturbed import can_run_alone, undisturbed

COLUMNS = 4  # of the figure
IGNORED = 255  # the class of pixels that count for nothing


class Mistakes:
    """The `count` worst answers of one round of validation or test.

    A classifier's are the wrong ones with the greatest confidence; those of masks and boxes have the greatest share of
    wrong pixels, or of boxes without a counterpart.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._kept: list[tuple[float, Tensor, Any, Any]] = []  # badness, image, target, answer

    def update(self, batch: Any, predictions: Any, targets: Any) -> None:
        """Look at one batch that begins with images.

        Predictions are logits, shape (B, K) or (B, K, H, W), or torchvision's dictionaries of boxes; targets are
        classes, shape (B,) or (B, H, W), or such dictionaries.
        """
        images = inputs_of(batch)
        if not self.count or not isinstance(images, Tensor | list) or not len(images) or images[0].ndim != 3:
            return
        badness, answers = _judge(predictions, targets)
        values, places = badness.topk(min(self.count, len(badness)))
        for value, place in zip(values.tolist(), places.tolist(), strict=True):
            if value > 0:
                kept = value, images[place], targets[place], answers[place]
                self._kept.append(apply_to_collection(kept, Tensor, Tensor.cpu))
        self._kept = sorted(self._kept, key=lambda item: -item[0])[: self.count]

    def draw(self, trainer: Trainer, module: LightningModule, names: list[str]) -> Any | None:
        """Return a figure: the truth above, the answer below; a classifier's answer is shown by what it depends on."""
        if not self._kept:
            return None
        transforms = getattr(getattr(trainer, "datamodule", None), "eval_transform", [])
        columns = min(len(self._kept), COLUMNS)
        rows = 2 * math.ceil(len(self._kept) / columns)
        figure, axes = plt.subplots(rows, columns, figsize=(1.7 * columns + 0.4, 2.1 * rows), squeeze=False)
        for number, (badness, image, target, answer) in enumerate(self._kept):
            row, column = divmod(number, columns)
            upper, lower = axes[2 * row : 2 * row + 2, column]
            plain = denormalize(image[None], transforms)[0].expand(3, -1, -1)
            if isinstance(answer, Tensor) and answer.ndim == 0:
                upper.imshow(plain.permute(1, 2, 0).numpy())
                truth, taken = (names[k] if k < len(names) else str(k) for k in (int(target), int(answer)))
                upper.set_title(f"is {truth}\n{taken} {badness:.2f}", fontsize=9)
                if can_run_alone(trainer) and isinstance(getattr(module, "net", None), nn.Module):
                    lower.imshow(_saliency(module, image[None], answer)[0].float().numpy(), cmap="inferno")
            else:
                upper.set_title(f"{badness:.0%} wrong", fontsize=9)
                upper.imshow(draw_target(plain, target).permute(1, 2, 0).numpy())
                lower.imshow(draw_target(plain, answer).permute(1, 2, 0).numpy())
        for axis in axes.flat:
            axis.axis("off")
        figure.tight_layout()
        return figure


def _judge(predictions: Any, targets: Any) -> tuple[Tensor, Any]:
    """Return how bad each answer is, shape (B,), 0 for right, and the answers."""
    if not isinstance(predictions, Tensor):
        from trainworks.callbacks.helpers.boxes import judge_boxes  # of detectors

        return judge_boxes(predictions, targets)
    if predictions.ndim == 4:
        answers = predictions.argmax(dim=1)
        return ((answers != targets) & (targets != IGNORED)).float().mean(dim=(1, 2)), answers
    if predictions.ndim == 2 and targets.ndim == 1 and not targets.is_floating_point():
        confidence, answers = torch.softmax(predictions.float(), dim=1).max(dim=1)
        return torch.where(answers != targets, confidence, 0.0), answers
    return torch.zeros(len(targets)), targets  # neither classes, masks nor boxes


def _saliency(module: Any, images: Tensor, answer: Tensor) -> Tensor:
    """Return how strongly an answer's logit depends on each pixel, shape (B, H, W) (arXiv:1312.6034)."""
    with undisturbed(module), torch.inference_mode(False), torch.enable_grad():
        inputs = images.clone().to(module.device).requires_grad_()
        (gradient,) = torch.autograd.grad(module.net(inputs)[:, answer].sum(), inputs)
    return gradient.abs().amax(dim=1).cpu()
