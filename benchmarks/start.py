"""How long it takes to begin, in processes of their own: python -m benchmarks.start [help|step|parts ...].

`help`: `train.py --help` and the answer to a mistake over `import lightning`. `step`: a whole process that ends after
its first training step on digits, and the whole digits command, over one that only imports the libraries that
configs/digits.yaml names or needs. `parts`: where the seconds of the whole digits command go.
"""

import argparse
import json
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import yaml

from benchmarks.ours import ROOT, item, python, write_config
from benchmarks.pairs import compare, measure_seconds, record, record_ratio, run_sections

TRAIN, DIGITS = str(ROOT / "train.py"), str(ROOT / "configs/digits.yaml")
NEEDED = (  # the libraries behind the classes of digits.yaml and defaults.yaml, and the command line
    "lightning.pytorch.cli", "torch.utils.tensorboard", "torchmetrics.classification", "torchvision.transforms.v2",
    "sklearn.datasets", "jsonargparse", "omegaconf",
)  # fmt: skip


def answers(options: argparse.Namespace) -> None:
    """Time `--help` and a mistake."""
    asked = {
        "--help": lambda: python(TRAIN, "--help"),
        "a mistake": lambda: python(TRAIN, "--config", DIGITS, "--trainer.max_epoch", "3", code=2),
    }
    for name, answer in asked.items():
        imported = {"imported": lambda: python("-c", "import lightning")}
        compare(f"{name} over import lightning", "at most 1.1", options.repetitions, **imported, answered=answer)


def first_step(options: argparse.Namespace) -> None:
    """Time the first training step, and the whole command."""
    epochs = ["--trainer.max_epochs", "1"] if options.quick else []
    with tempfile.TemporaryDirectory() as folder:
        words = (TRAIN, "--config", DIGITS, "--trainer.default_root_dir", folder, *epochs)
        ways = {
            "imports": lambda: python("-c", f"import {', '.join(NEEDED)}"),
            "first step": lambda: python(*words, "--callbacks.first", "benchmarks.clock.FirstStep"),
            "whole": lambda: python(*words),
        }
        times = measure_seconds(options.repetitions, ways)
    record_ratio("first training step on digits over imports", "at most 1.3", times, "first step", "imports")
    record_ratio("digits command over imports", "at most 1.6", times, "whole", "imports")


def parts(options: argparse.Namespace) -> None:
    """Split the seconds of the whole digits command."""
    runs = [stages(options.quick) for _ in range(options.repetitions)]
    for name in runs[0]:
        record(f"digits command, {name}", "", [run[name] for run in runs], "s")


def stages(quick: bool) -> dict[str, float]:
    """Run the digits command once and return the seconds of its parts, in order, and of the whole."""
    content = yaml.safe_load(Path(DIGITS).read_text(encoding="utf-8"))
    content["data"]["class_path"] = "benchmarks.clock.TimedDigits"
    if quick:
        content["trainer"]["max_epochs"] = 1
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/stages.json"
        content["trainer"]["callbacks"] = [item("benchmarks.clock.StageClock", path=path)]
        begin = time.time()
        python(TRAIN, "--config", write_config(folder, content))
        end = time.time()
        stamps = json.loads(Path(path).read_text(encoding="utf-8"))
    names = {
        "imported": "imports", "asked for data": "building", "data loaded": "data", "training begins": "up to training",
        "trained": "training and validation", "test begins": "last checkpoint, figures", "tested": "test",
        "end": "figures of the test, leaving",
    }  # fmt: skip
    times = [begin, *(stamps[name] for name in list(names)[:-1]), end]
    return dict(zip(names.values(), (b - a for a, b in pairwise(times)), strict=True)) | {"whole": end - begin}


SECTIONS = {"help": answers, "step": first_step, "parts": parts}


def main() -> None:
    """Run the sections that were named, or all."""
    run_sections(__doc__, SECTIONS, 7)


if __name__ == "__main__":
    main()
