from typing import Any

import torch
from torch import Tensor

from src.callbacks.media import denormalize


class Mistakes:
    """The most confident wrong answers of a classifier.

    Args:
        count: How many are kept.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._kept: list[tuple[float, int, int, Tensor]] = []  # confidence, prediction, target, image

    def update(self, batch: Any, logits: Tensor, targets: Tensor) -> None:
        """Look at one batch of images, logits of shape (B, K) and targets of shape (B,)."""
        images = batch[0] if isinstance(batch, tuple | list) else batch
        if not self.count or not isinstance(images, Tensor) or images.ndim != 4 or logits.ndim != 2:
            return
        confidence, predictions = torch.softmax(logits.detach().float(), dim=1).max(dim=1)
        wrong = torch.where(predictions != targets, confidence, torch.zeros_like(confidence))
        values, places = wrong.topk(min(self.count, len(wrong)))
        found = zip(
            values.tolist(), predictions[places].tolist(), targets[places].tolist(), images[places].cpu(), strict=True
        )
        self._kept = sorted([*self._kept, *(item for item in found if item[0] > 0)], key=lambda item: -item[0])
        self._kept = self._kept[: self.count]

    def draw(self, trainer: Any, module: Any, names: list[str]) -> Any | None:
        """Return a figure: above each image its label and the answer, below it what the answer depends on."""
        if not self._kept:
            return None
        import matplotlib.pyplot as plt  # seldom needed; the import would cost every start

        images = torch.stack([image for *_, image in self._kept])
        saliency = _saliency(module, images, torch.tensor([prediction for _, prediction, *_ in self._kept]))
        plain = denormalize(images, getattr(getattr(trainer, "datamodule", None), "eval_transform", []))
        figure, axes = plt.subplots(2, len(images), figsize=(1.7 * len(images) + 0.4, 4.2), squeeze=False)
        for column, (confidence, prediction, target, _) in enumerate(self._kept):
            picture = plain[column].permute(1, 2, 0).squeeze(-1)
            axes[0, column].imshow(picture, cmap="gray", vmin=0, vmax=1)
            axes[0, column].set_title(f"is {names[target]}\n{names[prediction]} {confidence:.2f}", fontsize=9)
            axes[1, column].imshow(saliency[column], cmap="inferno")
        for axis in axes.flat:
            axis.axis("off")
        figure.tight_layout()
        return figure


def _saliency(module: Any, images: Tensor, answers: Tensor) -> Tensor:
    """Return how strongly each answer's logit depends on each pixel, shape (B, H, W) (arXiv:1312.6034)."""
    training = module.training
    module.eval()
    try:
        with torch.inference_mode(False), torch.enable_grad():
            inputs = images.clone().to(module.device).requires_grad_()
            logits = module.net(inputs)
            (gradient,) = torch.autograd.grad(logits.gather(1, answers.to(module.device)[:, None]).sum(), inputs)
    finally:
        module.train(training)
    return gradient.abs().amax(dim=1).cpu()
