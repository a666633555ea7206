from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torchvision.utils import make_grid

from trainworks import draw_sample, never_fatal, send_media


class TrainingImages(Callback):
    """Show images of the first training batch after augmentation, with their masks or boxes drawn over them.

    Args:
        num_images: Number of images, at least 1.
    """

    def __init__(self, num_images: int = 64) -> None:
        if num_images < 1:
            raise ValueError(f"TrainingImages: num_images must be at least 1, got {num_images}")
        self.num_images = num_images

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Show the first batch of the first epoch."""
        if trainer.fit_loop.total_batch_idx or not trainer.is_global_zero or not trainer.loggers:
            return
        with never_fatal("samples/train"):
            self._draw(trainer, *(batch if isinstance(batch, tuple | list) and len(batch) == 2 else (batch, None)))

    def _draw(self, trainer: Trainer, images: Any, targets: Any) -> None:
        chosen = images[: self.num_images] if isinstance(images, Tensor | list) else []
        if not len(chosen) or getattr(chosen[0], "ndim", 0) != 3 or len(chosen[0]) not in (1, 3):
            return  # not images
        data = getattr(trainer, "datamodule", None)
        transforms, names = getattr(data, "train_transform", []), getattr(data, "class_names", None) or ()
        drawable = isinstance(targets, Tensor | list) and len(targets) >= len(chosen)
        pairs = zip(chosen, targets if drawable else [None] * len(chosen), strict=False)
        least = 192 if isinstance(targets, list) else 64  # pixels; names stand beside boxes
        scale = max(least // max(side for image in chosen for side in image.shape[-2:]), 1)
        shown = [draw_sample(image, target, transforms, names, scale) for image, target in pairs]
        height, width = (max(image.shape[side] for image in shown) for side in (-2, -1))
        same = [torch.nn.functional.pad(i, (0, width - i.shape[-1], 0, height - i.shape[-2])) for i in shown]
        grid = make_grid(torch.stack(same))
        send_media(trainer, "samples/train", grid, 0)
