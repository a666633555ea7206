"""A search against its trainings alone: python -m benchmarks.search [processes|overhead].

`processes`: trials of a small network a minute, in one process over a process each.
`overhead`: the whole command, without its start and its figures, over the trainings themselves in one process.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import yaml

from benchmarks.ours import ROOT, python
from benchmarks.pairs import compare, record, run_sections

TRAIN, DIGITS = str(ROOT / "train.py"), str(ROOT / "configs/digits.yaml")
RATES = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3]


def _search(folder: str, num_trials: int) -> list[str]:
    """Write a search over the learning rate and return its command."""
    path = Path(folder, "s.yaml")
    space = {"model.optimizer.lr": {"choices": RATES[:num_trials]}}
    content = {"objectives": {"val/loss": "min"}, "sampler": "optuna.samplers.BruteForceSampler", "space": space}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    name = f"s{time.time_ns()}"
    words = ["--config", DIGITS, "--trainer.max_epochs", "2", "--trainer.default_root_dir", folder]
    return [TRAIN, "sweep", *words, "--sweep", str(path), "--run_name", name]


def processes(options: argparse.Namespace) -> None:
    """Time all trials, with imports."""
    count = 2 if options.quick else len(RATES)
    with tempfile.TemporaryDirectory() as folder:

        def alone() -> None:
            for rate in RATES[:count]:
                words = ["fit", "--config", DIGITS, "--trainer.max_epochs", "2", "--trainer.default_root_dir", folder]
                python(TRAIN, *words, "--model.optimizer.lr", str(rate))

        compare(
            f"{count} trials in one process over a process each", "at most 0.25", options.repetitions,
            alone=alone, searched=lambda: python(*_search(folder, count)),
        )  # fmt: skip


def overhead(options: argparse.Namespace) -> None:
    """Compare the seconds between the first and the last trial with those that run.json says the trainings took."""
    count = 2 if options.quick else len(RATES)
    shares = []
    for _ in range(options.repetitions):
        with tempfile.TemporaryDirectory() as folder:
            python(*_search(folder, count))
            records = [json.loads(path.read_text()) for path in sorted(Path(folder).glob("digits/*/run.json"))]
            begun, ended = ([_seconds(item[key]) for item in records] for key in ("start", "end"))
            trained = sum(end - begin for begin, end in zip(begun, ended, strict=True))
            shares.append((max(ended) - min(begun)) / trained - 1)
    record("share of a search beside its trainings", "at most 0.02", shares, "")


def _seconds(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


if __name__ == "__main__":
    run_sections(__doc__, {"processes": processes, "overhead": overhead}, repetitions=3)
