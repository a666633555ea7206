"""How time and memory grow with the work: python -m benchmarks.growth [index|metrics|steps ...].

`index`: 10^3 to 10^7 samples: memory, time to divide them, to begin an epoch, and for a batch. `metrics`: a step with
1 to 64 metrics over a step with none. `steps`: 100,000 steps in one run: the step's time early and late, event files,
memory.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.clock import TICKS, resident, step_seconds
from benchmarks.opponent import quiet
from benchmarks.ours import classifier, item, train_here, write_config
from benchmarks.pairs import measure, record, record_ratio, run_sections
from trainworks.datamodules.base import BaseDataModule
from trainworks.datamodules.datasets import ArrayDataset


@dataclass(kw_only=True, eq=False, repr=False)
class IndexDataModule(BaseDataModule):
    """Samples of one byte, so that what is measured is the index."""

    num_samples: int

    def load_splits(self) -> Any:
        """Return the samples."""
        targets: Tensor = torch.arange(self.num_samples) % 10
        return {"all": ArrayDataset(torch.zeros(self.num_samples, 1, dtype=torch.uint8), targets)}


def index(options: argparse.Namespace) -> None:
    """Measure the index."""
    for power in range(3, 6 if options.quick else 8):
        rows: dict[str, list[float]] = {"divide": [], "begin": [], "batch": [], "memory": []}
        for _ in range(options.repetitions):
            before, start = resident(), time.perf_counter()
            data = IndexDataModule(num_samples=10**power, batch_size=100, num_classes=10)
            data.load()
            divided = time.perf_counter()
            batches = iter(data.train_dataloader())
            next(batches)
            begun = time.perf_counter()
            count = sum(1 for _, _ in zip(range(1000), batches, strict=False))
            rows["batch"].append((time.perf_counter() - begun) / count * 1e6)
            rows["divide"].append((divided - start) * 1e3)
            rows["begin"].append((begun - divided) * 1e3)
            rows["memory"].append(max(resident() - before, 0.0))
            del data, batches
        parts = [f"{statistics.median(rows[name]):.3g}" for name in ("divide", "begin", "memory")]
        details = f"divided in {parts[0]} ms, first batch after {parts[1]} ms, {parts[2]} MB more"
        record(f"10^{power} samples, a batch of 100", "", rows["batch"], "microseconds", details)


def metrics(options: argparse.Namespace) -> None:
    """Measure steps with metrics that share their state, and with metrics that cannot."""
    kinds = ("Accuracy", "Precision", "Recall", "F1Score", "Specificity", "NegativePredictiveValue", "HammingDistance")
    steps = 6_400 if options.quick else 60_000

    def shared(number: int) -> dict[str, Any]:
        return _metric(kinds[number % len(kinds)])

    def apart(number: int) -> dict[str, Any]:
        return _metric("Accuracy", top_k=1 + number // 10, ignore_index=number % 10)

    ways = {"none": lambda: _steps({}, steps)}
    for count in (4,) if options.quick else (1, 4, 16, 64):
        for name, kind in (("alike", shared), ("different", apart)):
            chosen = {f"m{number}": kind(number) for number in range(count)}
            ways[f"{count} {name}"] = lambda chosen=chosen: _steps(chosen, steps)
    measured = measure(min(options.repetitions, 3), ways)
    for name in list(ways)[1:]:
        goal = "at most 3" if name == "64 different" else ""
        record_ratio(f"step of 784-256-10 with {name} metrics over none", goal, measured, name, "none")


def _metric(name: str, **arguments: Any) -> dict[str, Any]:
    common = {"num_classes": 10, "average": "macro", "validate_args": False}
    return item(f"torchmetrics.classification.Multiclass{name}", **common, **arguments)


def _steps(metrics: dict[str, Any], num_samples: int) -> float:
    """Return the seconds of a step."""
    net = item("src.models.networks.mlp.MLP", in_features=784, num_classes=10, hidden=[256], batch_norm=False)
    _train(metrics, net, num_samples, [784], 64, 1)
    return step_seconds(1, 50)


def _train(
    metrics: dict[str, Any], net: Any, num_samples: int, shape: list[int], batch_size: int, epochs: int
) -> float:
    """Train by this project's command line, and return the bytes of the event files."""
    TICKS.clear()
    sizes = {"num_samples": num_samples, "shape": shape, "num_classes": 10, "batch_size": batch_size}
    model = classifier(net, item("torch.optim.SGD", lr=0.001), metrics)
    content = {"model": model, "data": item("benchmarks.clock.MemoryDataModule", **sizes)}
    with tempfile.TemporaryDirectory() as folder:
        content |= {"trainer": {"max_epochs": epochs}}
        train_here("fit", "--config", write_config(folder, content))
        return float(sum(path.stat().st_size for path in Path(folder).rglob("events.*")))


def steps(options: argparse.Namespace) -> None:
    """Measure a long run."""
    num_epochs = 2 if options.quick else 10
    net = item("src.models.networks.mlp.MLP", in_features=16, num_classes=10, hidden=[16], batch_norm=False)
    num_samples = 2_000 if options.quick else 40_000
    before = resident()
    events = _train({}, net, num_samples, [16], 4, num_epochs)
    ticks = np.diff(np.array(TICKS).reshape(num_epochs, -1)[:, 50:], axis=1) * 1e3
    count = f"{len(TICKS):,} steps"
    ratios = [float(np.median(ticks[-1]) / np.median(ticks[0]))]
    details = f"{np.median(ticks[0]):.3f} and {np.median(ticks[-1]):.3f} ms"
    record(f"{count}: median step of the last over the first epoch", "at most 1.05", ratios, "x", details)
    record(f"{count}: event files", "", [events / 1e6], "MB", f"{events / len(TICKS):.0f} bytes a step")
    record(f"{count}: memory after over before", "", [resident() - before], "MB", "imports for the first run included")


SECTIONS = {"index": index, "metrics": metrics, "steps": steps}


def main() -> None:
    """Run the sections that were named, or all."""
    torch.set_num_threads(1)
    quiet()
    run_sections(__doc__, SECTIONS, 3)


if __name__ == "__main__":
    main()
