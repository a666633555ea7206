"""Kill real trainings at random instants, continue them until they are done, and compare how they end.

python -m benchmarks.kill [--kills N] [--seed S] [--background]

Each run is `train.py ... --resume auto`, again and again, until it ends by itself. In between it is killed: at any
time, during start-up, while a checkpoint is being written, or by the death of a loader's worker; with SIGKILL, SIGTERM
or SIGINT. Weights, optimizer state and metrics at the end are compared with those of an undisturbed run. The exit code
is 1 if any differs.
"""

import argparse
import csv
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "trainworks/tests/configs"
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
WAYS = ("any time", "any time", "any time", "start-up", "while saving", "a worker")
BACKGROUND = "{class_path: trainworks.runs.checkpoint_io.DurableCheckpointIO, init_args: {background_mb: 0}}"
STATES = ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers")
RECORDED = ("metrics", "best", "best_epoch", "best_step", "stopped", "exit_status")
COMMON = ["--trainer.max_epochs", "8", "--callbacks.last.every_n_steps", "3", "--trainer.val_check_interval", "0.5"]


@dataclass
class Job:
    """One configuration, and what its undisturbed run ended with.

    Args:
        name: What distinguishes it.
        words: Its command line.
        has_workers: Whether a loader has processes of its own.
    """

    name: str
    words: list[str]
    has_workers: bool
    expected: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def start(self, folder: Path, run: str) -> subprocess.Popen[bytes]:
        """Start the training, or go on with it."""
        command = [sys.executable, str(ROOT / "train.py"), *self.words, *COMMON, "--run_name", run, "--resume", "auto"]
        log = (folder / "output.txt").open("ab")
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True, env=environment)


def jobs(folder: Path) -> list[Job]:
    """Return the trainings: data in memory, and files decoded by a worker with averaged weights and accumulation."""
    for name in ("a", "b"):
        (folder / "images" / name).mkdir(parents=True)
        for number in range(60):
            pixels = np.random.default_rng(number).integers(0, 256, (24, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "images" / name / f"{number}.jpg")
    crop = {"class_path": "torchvision.transforms.v2.RandomResizedCrop", "init_args": {"size": 16}}
    average = {"class_path": "lightning.pytorch.callbacks.EMAWeightAveraging", "init_args": {"decay": 0.9}}
    extra = {"data": {"init_args": {"sample_transform": [crop]}}, "callbacks": {"average": average}}
    (folder / "extra.yaml").write_text(json.dumps(extra))
    digits = [
        "--config",
        str(CONFIGS / "digits.yaml"),
        "--model.net.layers",
        "[8, M, 8]",
        "--model.net.dropout",
        "0.3",
    ]
    files = ["--config", str(CONFIGS / "image_folder.yaml"), "--config", "extra.yaml", "--data.root", "images"]
    files += ["--data.image_size", "16", "--model.net.layers", "[8, M, 8]", "--data.batch_size", "8"]
    files += [
        "--data.num_workers",
        "1",
        "--trainer.accumulate_grad_batches",
        "2",
        "--callbacks.best.monitor",
        "val/loss",
    ]
    files += ["--callbacks.best.mode", "min"]
    return [Job("memory", digits, False), Job("files, accumulated, averaged", files, True)]


def fingerprint(run: Path) -> dict[str, str]:
    """Hash each part of what a run ended with."""
    checkpoint = torch.load(run / "checkpoints/last.ckpt", weights_only=True)
    parts = {key: checkpoint.get(key) for key in STATES}
    record = json.loads((run / "run.json").read_text())
    parts["run.json"] = {key: record[key] for key in RECORDED}
    with (run / "metrics.csv").open(newline="") as file:
        parts["metrics.csv"] = [{**row, "seconds": ""} for row in csv.DictReader(file)]
    hashes = {}
    for name, part in parts.items():
        _update(digest := hashlib.sha256(), part)
        hashes[name] = digest.hexdigest()[:16]
    return hashes


def _update(digest: Any, node: Any) -> None:
    if isinstance(node, torch.Tensor):
        digest.update(node.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(node, dict):
        for key, value in node.items():
            digest.update(str(key).encode())
            _update(digest, value)
    elif isinstance(node, list | tuple):
        for item in node:
            _update(digest, item)
    else:
        digest.update(repr(node).encode())


def kill(process: subprocess.Popen[bytes], job: Job, run: Path, generator: random.Random) -> str | None:
    """Kill a training in one of the ways and return which, or None if it had ended before."""
    way, signum = generator.choice(WAYS), generator.choice(SIGNALS)
    if way == "a worker" and not job.has_workers:
        way = "while saving"
    end = time.monotonic() + generator.uniform(0.0, 3.0 if way == "start-up" else job.seconds)
    temporary = run / "checkpoints/last.ckpt.tmp"
    while process.poll() is None:
        if way == "while saving" and temporary.exists():
            break
        if time.monotonic() > end and way != "while saving":
            break
        time.sleep(0.0005 if way == "while saving" else 0.01)
    if process.poll() is not None:
        return None
    if way == "a worker":
        found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
        if not found:
            return None
        os.kill(int(found[-1]), signal.SIGKILL)
    else:
        process.send_signal(signum)
    process.wait(timeout=120)
    return f"{way}, {'SIGKILL' if way == 'a worker' else signum.name}"


def main() -> None:
    """Run the campaign."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--background", action="store_true", help="write checkpoints while the training goes on")
    options = parser.parse_args()
    generator, counts, runs, wrong = random.Random(options.seed), Counter[str](), 0, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        todo = jobs(folder)
        for job in todo:
            job.words += ["--trainer.plugins+", BACKGROUND] if options.background else []
        for job in todo:
            start = time.monotonic()
            if job.start(folder, "whole").wait() != 0:
                sys.exit((folder / "output.txt").read_text())
            job.seconds, experiment = time.monotonic() - start, Path(job.words[1]).stem
            job.expected = fingerprint(folder / "logs" / experiment / "whole")
            print(f"{job.name}: undisturbed {job.seconds:.1f} s", flush=True)
        while sum(counts.values()) < options.kills:
            job = todo[runs % len(todo)]
            run = folder / "logs" / Path(job.words[1]).stem / f"run{runs}"
            kills: list[str] = []
            while True:
                process = job.start(folder, run.name)
                done = kill(process, job, run, generator) if len(kills) < 5 else None
                status = process.wait()
                kills += [done] if done else []
                if done is None and status == 0:
                    break
                if done is None:
                    output = (folder / "output.txt").read_text()[-3000:]
                    sys.exit(f"run{runs} failed by itself, exit code {status}:\n{output}")
            counts.update(kills)
            other = [part for part, digest in fingerprint(run).items() if digest != job.expected[part]]
            wrong += bool(other)
            verdict = f"DIFFERENT {', '.join(other)}" if other else "the same"
            print(f"run{runs} ({job.name}): {len(kills)} kills, {verdict}: {'; '.join(kills)}", flush=True)
            runs += 1
    for way, count in sorted(counts.items()):
        print(f"{count:>5}  {way}")
    print(f"{sum(counts.values())} kills in {runs} runs; {wrong} runs ended otherwise than undisturbed")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
