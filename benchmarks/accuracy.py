"""Time to a test accuracy of 92% on Fashion-MNIST: python -m benchmarks.accuracy --root DIR [--repetitions N].

Ours is one whole command: imports, data, training, validation after each epoch, and the test, once, of the best
checkpoint. The opponent is the classic PyTorch example, see benchmarks/classic.py, which tests after each epoch and
stops as soon as it is there; that favours it, since it chooses its stop by the test. Each repetition has its own seed.
Threads are torch's own choice, or that of OMP_NUM_THREADS.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.ours import ROOT, python
from benchmarks.pairs import arguments, measure, record, record_ratio
from trainworks.runtime.devices import has_bf16

GOAL = 0.92
SETTINGS = {"float32": (), "bf16": ("--trainer.precision", "bf16-mixed")}
EPOCHS = 5


def ours(root: str, seed: int, words: tuple[str, ...], epochs: int) -> tuple[float, float]:
    """Return the command's seconds and the test accuracy."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["train.py", "--config", "configs/fashion_mnist.yaml", "--data.root", root, "--run_name", "a", *words]
        command += ["--trainer.max_epochs", str(epochs), "--seed_everything", str(seed)]
        taken = python(*command, "--trainer.default_root_dir", folder)
        record = json.loads(Path(folder, "fashion_mnist/a/run.json").read_text(encoding="utf-8"))
    return taken, float(record["metrics"]["test/accuracy"])


def classic(root: str, seed: int, epochs: int) -> tuple[float, float, int]:
    """Return seconds of the whole process, the last test accuracy and the number of epochs."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.classic", "--root", root, "--until", str(GOAL), "--seed", str(seed)]
    done = subprocess.run([*command, "--epochs", str(epochs)], cwd=ROOT, capture_output=True, text=True, check=True)
    number, accuracy, _ = done.stdout.splitlines()[-1].split()
    return time.perf_counter() - start, float(accuracy), int(number)


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__, [], 3)
    if options.root is None:
        print("accuracy: skipped, it needs --root with the real Fashion-MNIST")
        return
    settings = dict(SETTINGS)
    if not has_bf16(torch.device("cuda" if torch.cuda.is_available() else "cpu")):
        print("accuracy: bf16 skipped, the device computes it only in a roundabout way")
        del settings["bf16"]
    reached: dict[str, list[float]] = {name: [] for name in [*settings, "classic"]}
    numbers: list[int] = []

    def own(name: str) -> float:
        seed = len(reached[name])
        taken, accuracy = ours(options.root, seed, settings[name], 1 if options.quick else EPOCHS)
        reached[name].append(accuracy)
        return taken

    def other() -> float:
        taken, accuracy, number = classic(options.root, len(reached["classic"]), 1 if options.quick else 14)
        reached["classic"].append(accuracy)
        numbers.append(number)
        return taken

    ways = {**{name: lambda name=name: own(name) for name in settings}, "classic": other}
    taken = measure(options.repetitions, ways, warm_up=0)  # whole processes, of minutes
    for name, accuracies in reached.items():
        record(f"test accuracy, {name}", "at least 0.92 (each seed)", [min(accuracies)], "", f"lowest of {accuracies}")
    record("epochs of the classic way", "", [float(number) for number in numbers], "epochs")
    for name in settings:
        record_ratio(f"time to 92%, classic over ours, {name}", "at least 5", taken, "classic", name)


if __name__ == "__main__":
    main()
