"""Runs of this project, as the benchmarks start them: the real command line, in this process or in one of its own."""

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.clock import Terminal

ROOT = Path(__file__).resolve().parent.parent
ACCURACY = {
    "accuracy": {
        "class_path": "torchmetrics.classification.MulticlassAccuracy",
        "init_args": {"num_classes": 10, "average": "micro", "validate_args": False},
    }
}

LAUNCH = """
import resource, subprocess, sys
code = subprocess.call([sys.executable, *sys.argv[1:]], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""  # Linux counts what a process was before it became another program: from a small one that is nothing


def item(class_path: str, **init_args: Any) -> dict[str, Any]:
    """Return a class as a configuration names it."""
    return {"class_path": class_path, "init_args": init_args}


def classifier(net: dict[str, Any], optimizer: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the model part of a configuration."""
    loss = item("torch.nn.CrossEntropyLoss")
    return item("src.models.classifier.ClassifierModule", net=net, loss=loss, optimizer=optimizer, metrics=metrics)


def write_config(folder: str, content: dict[str, Any]) -> str:
    """Write a configuration whose runs go into `folder`, and return its path."""
    trainer = {"default_root_dir": f"{folder}/logs", "accelerator": "cpu", **content.get("trainer", {})}
    path = Path(folder, "benchmark.yaml")
    path.write_text(json.dumps(content | {"trainer": trainer}), encoding="utf-8")
    return str(path)


def train_here(*words: str) -> None:
    """Run train.py in this process, on a terminal that nobody sees."""
    from trainworks.cli.main import main

    sys.argv = ["train.py", *words]
    with hidden():
        code = main(list(words))
    if code:
        raise RuntimeError(f"train.py {' '.join(words)} ended with {code}")


@contextlib.contextmanager
def hidden() -> Any:
    """Let all that is printed go to a terminal that nobody sees."""
    terminal: Any = Terminal()
    with contextlib.redirect_stdout(terminal), contextlib.redirect_stderr(terminal):
        yield


def python(*words: str, code: int = 0) -> float:
    """Run a Python process from the repository root and return its seconds.

    Raises:
        RuntimeError: If it ends with another exit code than `code`.
    """
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=ROOT)
    taken = time.perf_counter() - start
    if done.returncode != code:
        raise RuntimeError(f"python {' '.join(words)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return taken


def peak_of(*words: str) -> float:
    """Run a Python process from the repository root and return the most memory it held, in MB (Linux)."""
    done = subprocess.run([sys.executable, "-c", LAUNCH, *words], capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(f"python {' '.join(words)} failed:\n{done.stderr[-2000:]}")
    return int(done.stdout) * 1024 / 1e6
