"""Figures, images and texts to those loggers that take them; the others are passed over."""

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib.pyplot as plt
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torchvision.transforms import v2
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

COLORS = ("red", "lime", "blue", "yellow", "magenta", "cyan", "orange", "purple", "pink", "white")


@contextmanager
def never_fatal(name: str) -> Iterator[None]:
    """A figure is not worth a training, nor a warning that nobody can act on."""
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except Exception as error:
        print(f"the figure {name} could not be drawn: {type(error).__name__}: {error}")


def send_media(trainer: Trainer, tag: str, item: Any, step: int) -> None:
    """Send a Markdown text, an image of shape (3, H, W) with values in [0, 1], or a Matplotlib figure, and close that.

    Weights & Biases, and loggers made like it, log both figures and images by `log_image`; MLflow has `log_figure`.
    """
    kind = "text" if isinstance(item, str) else "image" if isinstance(item, Tensor) else "figure"
    for logger in trainer.loggers:
        experiment: Any = getattr(logger, "experiment", None)
        if isinstance(logger, TensorBoardLogger):
            getattr(experiment, f"add_{kind}")(tag, item, step)
        elif kind == "text" and hasattr(logger, "log_text"):
            logger.log_text(key=tag, columns=["text"], data=[[item]], step=step)
        elif kind != "text" and hasattr(logger, "log_image"):
            image = item.permute(1, 2, 0).numpy() if kind == "image" else item
            logger.log_image(key=tag, images=[image], step=step)
        elif kind == "figure" and hasattr(experiment, "log_figure"):
            experiment.log_figure(getattr(logger, "run_id", None), item, f"{tag}.png")
    if kind == "figure":
        plt.close(item)
        gc.collect()  # its parts refer to each other, and each waiting figure holds 5 MB


def send_scalars(trainer: Trainer, values: dict[str, float], step: int) -> None:
    """Send numbers."""
    for logger in trainer.loggers:
        logger.log_metrics(values, step=step)


def steps_so_far(trainer: Trainer) -> int:
    """Return the step at which something is shown: optimizer steps from 0, as Lightning counts its own metrics."""
    return int(trainer.fit_loop.epoch_loop._batches_that_stepped)


def writers(trainer: Trainer) -> list[Any]:
    """Return the TensorBoard writers, for what only TensorBoard has."""
    return [logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]


def denormalize(images: Tensor, transforms: list[nn.Module]) -> Tensor:
    """Bring images, shape (B, C, H, W), back to values in [0, 1], on the CPU.

    Of the transforms that were applied, Normalize is undone and anything else left.
    """
    images = images.detach().cpu().float()
    for transform in transforms:
        if isinstance(transform, v2.Normalize):
            mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (transform.mean, transform.std))
            images = images * std + mean
    return (images / 255 if images.max() > 2 else images).clamp(0, 1)


def draw_target(image: Tensor, target: Any) -> Tensor:
    """Draw what belongs to an image, values in [0, 1], shape (3, H, W), over it.

    That is a mask of classes, shape (H, W) or (1, H, W), of which 0 is left clear, or torchvision's dictionary of boxes
    and labels; anything else is not drawn.
    """
    image = image.float()
    if isinstance(target, dict) and "boxes" in target:
        labels = target.get("names") or [str(int(label)) for label in target.get("labels", [])] or None
        boxes = target["boxes"].detach().cpu()
        drawn = draw_bounding_boxes(image, boxes, labels, colors="red") if len(boxes) else image
    elif isinstance(target, Tensor) and target.shape[-2:] == image.shape[-2:] and not target.is_floating_point():
        classes = target.detach().cpu().reshape(image.shape[-2:])
        found = [k for k in torch.unique(classes).tolist() if k != 0]
        colors = [COLORS[k % len(COLORS)] for k in found]  # a class has the same one in every image
        masks = classes == torch.tensor(found).view(-1, 1, 1)
        drawn = draw_segmentation_masks(image, masks, alpha=0.5, colors=colors) if found else image
    else:
        return image
    return torch.as_tensor(drawn)
