"""Memory of whole runs, in processes of their own (Linux): python -m benchmarks.memory [peak|workers|epochs|pages ...].

`peak`: the most that the digits and the Fashion-MNIST command hold, beside the imports alone and the popular Hydra
template's way. `workers`: what each loader's worker holds that it shares with no other process. `epochs`: whether
memory grows over 100 epochs of the digits, from the tenth on. `pages`: what a step on the CPU gains when the process
keeps freed memory, as every run does (trainworks/runtime/memory.py).
"""

import argparse
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from benchmarks.data import own_memory
from benchmarks.ours import ROOT, item, peak_of, python, write_config
from benchmarks.pairs import measure, record, record_ratio, run_sections
from benchmarks.start import NEEDED

TRAIN = str(ROOT / "train.py")
PAGES = """
import sys
from benchmarks.pairs import seconds
from benchmarks.switches import steps
from trainworks.runtime.memory import keep_freed_memory
name, way, count = sys.argv[1:]
if way == "kept":
    keep_freed_memory()
run = steps(name, ("fused",))
run()
print(sum(seconds(run) for _ in range(int(count))))
"""  # a process each, since it cannot be undone


def config(name: str, root: str | None, scale: float) -> dict[str, Any]:
    """Return an example configuration with made-up images instead of Fashion-MNIST, unless a folder is given."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "configs" / f"{name}.yaml").read_text(encoding="utf-8"))
    data = content["data"]["init_args"]
    if name == "fashion_mnist" and root:
        data["root"] = root
    elif name == "fashion_mnist":
        for part in ("train", "test"):
            made_up = item("benchmarks.clock.MadeUpFashionMNIST", train=part == "train", scale=scale)
            data[f"{part}_dataset"] = made_up
    return content


def peak(options: argparse.Namespace) -> None:
    """Measure the peaks."""
    scale = 0.02 if options.quick else 1.0
    root = ["--root", options.root] if options.root else []
    with tempfile.TemporaryDirectory() as folder:
        words: dict[str, list[str]] = {"the imports alone": ["-c", f"import {', '.join(NEEDED)}"]}
        for name in ("digits", "fashion_mnist"):
            place = Path(folder, name)
            place.mkdir()
            path = write_config(str(place), config(name, options.root, scale))
            words[f"{name}, ours"] = [TRAIN, "--config", path, "--trainer.max_epochs", "1"]
        words["fashion_mnist, Hydra template's style"] = [
            "-m", "benchmarks.opponent", *root, "--epochs", "1", "--scale", str(scale),
        ]  # fmt: skip
        for name, command in words.items():
            goal = "at most 990 (what that template took)" if "ours" in name else ""
            record(f"peak memory, {name}", goal, [peak_of(*command) for _ in range(options.repetitions)], "MB")


def workers(options: argparse.Namespace) -> None:
    """Measure what the workers hold that they share with nobody."""
    for count in (1, 2) if options.quick else (1, 2, 4):
        held = [_workers_peak(count, options.quick) / count for _ in range(options.repetitions)]
        record(f"memory of its own that each of {count} workers holds", "", held, "MB")


def _workers_peak(count: int, quick: bool) -> float:
    """Return the most memory in MB that all workers of a run held together, besides what they share."""
    with tempfile.TemporaryDirectory() as folder:
        content = config("digits", None, 1.0)
        content["data"]["init_args"]["num_workers"] = count
        content["trainer"]["max_epochs"] = 2 if quick else 5
        command = [sys.executable, TRAIN, "fit", "--config", write_config(folder, content)]
        command += ["--callbacks.figures", "null"]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        most = 0.0
        while process.poll() is None:
            most = max(most, sum(_own(pid) for pid in _children(process.pid)))
            time.sleep(0.05)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return most


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _own(pid: int) -> float:
    """Return the memory in MB that a process shares with no other, 0 if it has gone."""
    try:
        return own_memory(pid)
    except OSError:
        return 0.0


def epochs(options: argparse.Namespace) -> None:
    """Measure how memory grows with the epochs."""
    count, first = (12, 4) if options.quick else (100, 10)
    slopes, ends = [], []
    for _ in range(min(options.repetitions, 3)):
        with tempfile.TemporaryDirectory() as folder:
            content = config("digits", None, 1.0)
            content["callbacks"] = {"resident": item("benchmarks.clock.Resident", path=f"{folder}/resident.txt")}
            content["trainer"]["max_epochs"] = count
            python(TRAIN, "fit", "--config", write_config(folder, content))
            values = np.loadtxt(f"{folder}/resident.txt")[first:]
        slopes.append(float(np.polyfit(np.arange(len(values)), values, 1)[0]) * 1e3)
        ends.append(float(values[-1] - values[0]))
    name = f"growth of memory from epoch {first} to {count} of the digits"
    record(name, "at most 10 (kB an epoch)", slopes, "kB an epoch", f"in all {np.median(ends):.1f} MB")


def pages(options: argparse.Namespace) -> None:
    """Measure what keeping freed memory gains."""
    names = ("fashion_mnist",) if options.quick else ("digits", "fashion_mnist", "image_folder", "resnet18_224", "gpt")
    for name in names:
        count = 1 if options.quick else 10
        ways = {way: partial(_steps, name, way, count) for way in ("plain", "kept")}
        taken = measure(options.repetitions, ways, warm_up=0)
        record_ratio(f"steps of {name}, freed memory given back over kept", "", taken, "plain", "kept")


def _steps(name: str, way: str, count: int) -> float:
    """Return the seconds that steps of one of the networks of `switches` take, in a process of its own."""
    command = [sys.executable, "-c", PAGES, name, way, str(count)]
    return float(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout)


SECTIONS = {"peak": peak, "workers": workers, "epochs": epochs, "pages": pages}


def main() -> None:
    """Run the sections that were named, or all."""
    run_sections(__doc__, SECTIONS, 3)


if __name__ == "__main__":
    main()
