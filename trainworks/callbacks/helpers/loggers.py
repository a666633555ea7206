"""What callbacks send to the loggers: scalars, texts, images and figures."""

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from torch import Tensor

from trainworks.models.colors import hex_color


@contextmanager
def never_fatal(name: str) -> Iterator[None]:
    """Print an error in drawing the figure `name` instead of raising it, and ignore warnings: the training goes on.

    Lines have the colours of classes, which colour-blind people tell apart, beginning with blue.
    """
    colors = [hex_color(number) for number in (5, 6, 3, 1, 2, 7, 0)]
    try:
        with warnings.catch_warnings(action="ignore"), plt.rc_context({"axes.prop_cycle": cycler(color=colors)}):
            yield
    except Exception as error:
        print(f"the figure {name} could not be drawn: {type(error).__name__}: {error}")


def send_media(trainer: Trainer, tag: str, item: Any, step: int) -> None:
    """Send a Markdown text, an image of shape (3, H, W) in [0, 1], or a Matplotlib figure, which is then closed.

    Loggers without a method for it are passed over. Weights & Biases, and loggers like it, take both figures and images
    by `log_image`; MLflow has `log_figure`. Figures of a command that evaluates stand in figures/, too.
    """
    kind = "text" if isinstance(item, str) else "image" if isinstance(item, Tensor) else "figure"
    for logger in trainer.loggers:
        experiment: Any = getattr(logger, "experiment", None)
        if isinstance(logger, TensorBoardLogger):
            getattr(experiment, f"add_{kind}")(tag, item, step, **({"close": False} if kind == "figure" else {}))
        elif kind == "text" and hasattr(logger, "log_text"):
            logger.log_text(key=tag, columns=["text"], data=[[item]], step=step)
        elif kind != "text" and hasattr(logger, "log_image"):
            image = item.permute(1, 2, 0).numpy() if kind == "image" else item
            logger.log_image(key=tag, images=[image], step=step)
        elif kind == "figure" and hasattr(experiment, "log_figure"):
            experiment.log_figure(getattr(logger, "run_id", None), item, f"{tag}.png")
    if kind == "figure":
        if trainer.state.fn != "fit" and trainer.is_global_zero:
            path = Path(trainer.default_root_dir) / "figures" / f"{tag.replace('/', '_')}.png"
            path.parent.mkdir(exist_ok=True)
            if item.stale:  # else TensorBoard has drawn it
                item.canvas.draw()
            Image.fromarray(np.asarray(item.canvas.buffer_rgba())).convert("RGB").save(path)
        plt.close(item)
        gc.collect()  # its parts refer to each other, and a figure that is not collected holds 5 MB


def send_scalars(trainer: Trainer, values: dict[str, float], step: int) -> None:
    """Send scalars to all loggers."""
    for logger in trainer.loggers:
        logger.log_metrics(values, step=step)


def steps_so_far(trainer: Trainer) -> int:
    """Return the number of optimizer steps taken, which is the step of Lightning's own metrics."""
    return int(trainer.fit_loop.epoch_loop._batches_that_stepped)


def tensorboard_writers(trainer: Trainer) -> list[Any]:
    """Return the SummaryWriter of each TensorBoard logger, for what only TensorBoard shows."""
    return [logger.experiment for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]


def send_pr_curves(trainer: Trainer, counts: Tensor, stage: str, names: list[str], step: int) -> None:
    """Fill TensorBoard's PR curves panel from numbers of samples, shape (thresholds, classes, actual, predicted)."""
    for writer in tensorboard_writers(trainer):
        for k, name in enumerate(names):
            tn, fp, fn, tp = (counts[:, k, actual, predicted] for actual in (0, 1) for predicted in (0, 1))
            precision, recall = tp / (tp + fp).clamp(min=1), tp / (tp + fn).clamp(min=1)
            values = [item.double().numpy() for item in (tp, fp, tn, fn, precision, recall)]
            writer.add_pr_curve_raw(f"pr_curve/{stage}/{name}", *values, step, num_thresholds=len(counts))
