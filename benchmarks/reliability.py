"""What it costs that nothing is lost: python -m benchmarks.reliability [--repetitions N].

Saving and checking a checkpoint of 1 GiB; seeding a batch; and the step of a small network (784-256-10, batch 64) with
the callbacks that protect a run, over the same step without them.
"""

import argparse
import contextlib
import io
import tempfile
import timeit
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import nn

from benchmarks.data import MadeUpMNIST, floats
from benchmarks.pairs import compare, measure, record_ratio, seconds
from src.models.classifier import ClassifierModule
from src.models.networks.mlp import MLP
from trainworks.callbacks import FiniteLoss, LastCheckpoint
from trainworks.cli.console import silence_noise
from trainworks.datamodules import VisionDataModule
from trainworks.datamodules.randomness import seed_batch
from trainworks.runs.checkpoint_io import DurableCheckpointIO
from trainworks.runs.continuing.checkpoint import read_start

LOOP = {  # what is read of a training's counters
    "epoch_loop.state_dict": {"_batches_that_stepped": 1},
    "epoch_loop.batch_progress": {"current": {"ready": 0}},
}


def epoch(callbacks: list[Callback], net: Callable[[], nn.Module] | None = None, **options: Any) -> Callable[[], None]:
    """Return one epoch of 937 steps of a small network, or of another one, with these callbacks."""
    data = VisionDataModule(
        root="", num_classes=10, train_dataset=lambda _: MadeUpMNIST(), batch_size=64, val_fraction=0.0,
        train_transform=floats([0.286], [0.353]),
    )  # fmt: skip

    def run() -> None:
        optimizer = partial(torch.optim.SGD, lr=0.01)
        network = net() if net else MLP(784, 10, [256], batch_norm=False)
        module = ClassifierModule(network, nn.CrossEntropyLoss(), optimizer)
        trainer = Trainer(
            accelerator="cpu", enable_progress_bar=False, max_epochs=1, enable_model_summary=False,
            callbacks=callbacks, use_distributed_sampler=False, **options,
        )  # fmt: skip
        with contextlib.redirect_stdout(io.StringIO()):
            trainer.fit(module, data)

    return run


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=9)
    options = parser.parse_args()
    silence_noise()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.ckpt")
        content = {"state_dict": {"a": torch.randn(2**28)}, "loops": {"fit_loop": LOOP}, "optimizer_states": []}
        compare(
            "saving 1 GiB", "no slower than Lightning's", 5,
            ours=lambda: DurableCheckpointIO(background_mb=None).save_checkpoint(content, path),
            lightnings=lambda: TorchCheckpointIO().save_checkpoint(content, path),
        )  # fmt: skip

        def stands_still(writer: DurableCheckpointIO) -> float:
            taken = seconds(lambda: writer.save_checkpoint(content, path))
            writer.wait()
            return taken

        writers = {"in the background": DurableCheckpointIO(), "at once": DurableCheckpointIO(background_mb=None)}
        still = measure(5, {name: partial(stands_still, writer) for name, writer in writers.items()})
        what = "how long a training stands still for 1 GiB, in the background over at once"
        record_ratio(what, "at most 0.33", still, *writers)
        print(f"checking 1 GiB whole: {min(timeit.repeat(lambda: read_start(path), number=1, repeat=3)):.2f} s")
        device, count = torch.device("cpu"), 100_000
        taken = timeit.timeit(lambda: seed_batch(device, 0, 0, 0, 1), number=count)
        print(f"seeding a batch: {taken / count * 1e6:.1f} microseconds")
        protection: list[Callback] = [FiniteLoss(), LastCheckpoint(folder, every_n_epochs=0)]  # saves once, at the end
        ways = {
            "plain": epoch([], logger=False, enable_checkpointing=False),
            "protected": epoch(protection, logger=False),
        }
        ratio = compare("937 steps of a small network", "at most 1.03", options.repetitions, **ways)
        print(f"what protects a run adds {ratio - 1:.1%} to these steps")


if __name__ == "__main__":
    main()
