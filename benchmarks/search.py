"""A search against its trainings alone: python -m benchmarks.search [processes|overhead].

`processes`: trials of a small network a minute, in one process over a process each.
`overhead`: from the first trial's start to the last one's end, over the same trainings in one process.
"""

import argparse
import json
import tempfile
import time
from datetime import datetime
from pathlib import Path

import yaml

from benchmarks.ours import ROOT, python
from benchmarks.pairs import compare, measure, record_ratio, run_sections

TRAIN, DIGITS = str(ROOT / "train.py"), str(ROOT / "configs/digits.yaml")
PLAIN = ["--trainer.max_epochs", "2", "--callbacks.figures", "null"]  # trials of a search draw none
RATES = [0.001 * 1.2**number for number in range(18)]


def searching(folder: str, num_trials: int) -> list[str]:
    """Write a search over the learning rate and return its command."""
    path = Path(folder, "s.yaml")
    path.parent.mkdir(exist_ok=True)
    space = {"model.optimizer.lr": {"choices": RATES[:num_trials]}}
    content = {"objectives": {"val/loss": "min"}, "sampler": "optuna.samplers.BruteForceSampler", "space": space}
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    name = f"s{time.time_ns()}"
    words = ["--config", DIGITS, "--trainer.max_epochs", "2", "--trainer.default_root_dir", folder]
    return [TRAIN, "sweep", *words, "--sweep", str(path), "--run_name", name]


def processes(options: argparse.Namespace) -> None:
    """Time all trials, with imports."""
    count = 2 if options.quick else len(RATES)
    with tempfile.TemporaryDirectory() as folder:  # the search's start and figures count

        def alone() -> None:
            for rate in RATES[:count]:
                words = ["fit", "--config", DIGITS, *PLAIN, "--trainer.default_root_dir", folder]
                python(TRAIN, *words, "--model.optimizer.lr", str(rate))

        compare(
            f"{count} trials in one process over a process each", "at most 0.25", options.repetitions,
            alone=alone, searched=lambda: python(*searching(folder, count)),
        )  # fmt: skip


def overhead(options: argparse.Namespace) -> None:
    """Compare a search with the same trainings in one process, each from its first start to its last end."""
    count = 2 if options.quick else len(RATES)
    with tempfile.TemporaryDirectory() as folder:
        loop = f"""
from trainworks.runtime.cores import shorten_waiting
shorten_waiting()
import trainworks.cli.session  # imports before the first start, as a search does
from trainworks.cli.main import main
for rate in {RATES[:count]}:
    words = ["--config", {DIGITS!r}, *{PLAIN}, "--trainer.default_root_dir", {folder + "/alone"!r}]
    main(["fit", *words, "--model.optimizer.lr", str(rate)])
"""
        ways = {
            "alone": lambda: _span(folder + "/alone", ["-c", loop]),
            "searched": lambda: _span(folder + "/searched", searching(folder + "/searched", count)),
        }
        measured = measure(options.repetitions, ways)
    record_ratio("a search over its trainings alone", "at most 1.02", measured, "searched", "alone")


def _span(folder: str, words: list[str]) -> float:
    """Return the seconds from the start of the first new run in a folder to the end of the last."""
    before = set(Path(folder).glob("digits/*/run.json"))
    python(*words)
    records = [json.loads(path.read_text()) for path in set(Path(folder).glob("digits/*/run.json")) - before]
    return max(_seconds(item["end"]) for item in records) - min(_seconds(item["start"]) for item in records)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


if __name__ == "__main__":
    run_sections(__doc__, {"processes": processes, "overhead": overhead}, repetitions=3)
