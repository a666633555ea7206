"""Figures, images and texts to those loggers that take them; the others are passed over."""

from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn
from torchvision.transforms import v2


def send_figure(trainer: Trainer, tag: str, figure: Any, step: int) -> None:
    """Send a Matplotlib figure and close it.

    Args:
        trainer: Its loggers are asked.
        tag: Name of the figure.
        figure: A matplotlib.figure.Figure.
        step: Optimizer steps so far.
    """
    import matplotlib.pyplot as plt  # figures are drawn seldom; the import would cost every start

    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_figure(tag, figure, step, close=False)
        elif hasattr(logger, "log_image"):  # Weights & Biases, and loggers made like it
            logger.log_image(key=tag, images=[figure], step=step)
        elif hasattr(getattr(logger, "experiment", None), "log_figure"):  # MLflow
            logger.experiment.log_figure(getattr(logger, "run_id", None), figure, f"{tag}.png")  # type: ignore
    plt.close(figure)


def send_image(trainer: Trainer, tag: str, image: Tensor, step: int) -> None:
    """Send an image, values in [0, 1], shape (3, H, W)."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(tag, image, step)
        elif hasattr(logger, "log_image"):
            logger.log_image(key=tag, images=[image.permute(1, 2, 0).numpy()], step=step)


def send_text(trainer: Trainer, tag: str, text: str, step: int) -> None:
    """Send a text, Markdown."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_text(tag, text, step)
        elif hasattr(logger, "log_text"):
            logger.log_text(key=tag, columns=["text"], data=[[text]], step=step)


def writers(trainer: Trainer) -> list[Any]:
    """Return the TensorBoard writers, for what only TensorBoard has."""
    return [logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]


def denormalize(images: Tensor, transforms: list[nn.Module]) -> Tensor:
    """Bring images, shape (B, C, H, W), back to values in [0, 1], on the CPU.

    Args:
        images: As the network sees them.
        transforms: What was done to them; Normalize among them is undone, anything else left.
    """
    images = images.detach().cpu().float()
    for transform in transforms:
        if isinstance(transform, v2.Normalize):
            mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (transform.mean, transform.std))
            images = images * std + mean
    return (images / 255 if images.max() > 2 else images).clamp(0, 1)
