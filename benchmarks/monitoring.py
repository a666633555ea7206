"""What it costs to watch a training: python -m benchmarks.monitoring [--repetitions N].

The same steps with and without the callbacks that watch a run, TensorBoard on in both: of a small network (784-256-10,
batch 64, a step of about one millisecond), and of a convolutional one with a step of some ten milliseconds.
"""

import argparse
import logging
import tempfile
from typing import Any

import torch
from lightning.pytorch.loggers import TensorBoardLogger

from benchmarks.pairs import compare
from benchmarks.reliability import epoch
from src.callbacks.norm_monitor import NormMonitor
from src.callbacks.training_images import TrainingImages
from src.models.networks.small_cnn import SmallCNN
from trainworks.callbacks import RunNotes, SpeedMonitor
from trainworks.cli.console import silence_noise


def watchers() -> list[Any]:
    """Return what watches the steps of a training by default; figures are drawn after it."""
    return [RunNotes(), TrainingImages(), NormMonitor(), SpeedMonitor()]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=9)
    repetitions = parser.parse_args().repetitions
    silence_noise()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)

    def convolutions() -> SmallCNN:
        return SmallCNN(in_channels=1, num_classes=10, layers=[16, "M", 32])

    with tempfile.TemporaryDirectory() as folder:
        for name, net, steps in (("a small network", None, 937), ("a convolutional network", convolutions, 300)):
            options: dict[str, Any] = {
                "logger": TensorBoardLogger(folder), "enable_checkpointing": False, "limit_train_batches": steps,
                "default_root_dir": folder,
            }  # fmt: skip
            plain, watched = epoch([], net, **options), epoch(watchers(), net, **options)
            compare(f"{steps} steps of {name}", "at most 1.01", repetitions, plain=plain, watched=watched)
            options["limit_train_batches"] = 1
            plain, watched = epoch([], net, **options), epoch(watchers(), net, **options)
            compare(f"one step of {name}", "begins within 0.2 s", repetitions, plain=plain, watched=watched)


if __name__ == "__main__":
    main()
