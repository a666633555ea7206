"""Trainings beside other jobs on the same cores: python -m benchmarks.neighbours [digits|table|large|quota|search ...].

Each is measured alone and beside a neighbour, in turn, in processes of their own: samples a second between two moments
of a training that goes on. `digits`, `table`: examples that take one thread, beside a training of their kind; the
digits also beside a loop of PyTorch alone whose threads spin, against Lightning's Trainer with nothing on. `large`:
examples that take all cores. `quota`: the digits where a container may keep one core busy. `search`: two searches at
once. "Before" is what torch does by itself: a thread a core, spinning.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.ours import ROOT, item, python, write_config
from benchmarks.pairs import measure, measure_seconds, record, record_ratio, run_sections
from benchmarks.search import searching
from trainworks.runtime.cores import CGROUP_MOUNT
from trainworks.runtime.threads import THREAD_PREFIXES

BEFORE = {"OMP_NUM_THREADS": str(os.cpu_count()), "GOMP_SPINCOUNT": "300000"}  # the second is libgomp's default
NET = "SmallCNN(1, 10, [16, 16, 'M', 32, 'M', 64])"  # that of the digits
BARE = f"""
import sys
from lightning.pytorch import Trainer
from benchmarks.clock import MemoryDataModule, Rate
from benchmarks.tax import BareModule
from src.models.networks.small_cnn import SmallCNN
data = MemoryDataModule(num_samples=1257, shape=[1, 8, 8], num_classes=10)
data.load()
trainer = Trainer(accelerator="cpu", max_epochs=-1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
    enable_model_summary=False, use_distributed_sampler=False, callbacks=[Rate(sys.argv[1], float(sys.argv[2]))])
trainer.fit(BareModule({NET}), data.train_dataloader(), data.val_dataloader())
"""
LOOP = f"""
import sys, torch
from pathlib import Path
from src.models.networks.small_cnn import SmallCNN
net, inputs, targets = {NET}, torch.randn(64, 1, 8, 8), torch.arange(64) % 10
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
while True:
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(net(inputs), targets).backward()
    optimizer.step()
    Path(sys.argv[1]).touch()
"""
RESNET = {
    "model": item(
        "src.models.classifier.ClassifierModule", net=item("torchvision.models.resnet18", num_classes=10),
        loss=item("torch.nn.CrossEntropyLoss"), optimizer=item("torch.optim.AdamW", lr=0.001),
    ),
    "data": item(
        "benchmarks.clock.MemoryDataModule", num_samples=640, shape=[3, 64, 64], num_classes=10, batch_size=32,
    ),
}  # fmt: skip


class Job:
    """A training that goes on until it is stopped, in a process of its own.

    Args:
        words: What Python gets; two more follow, a file for the rate, and the seconds to measure.
        seconds: To measure.
        environment: Variables that it has beside those that do not concern threads.
        group: Folder of a control group that it is put into.
    """

    def __init__(self, words: list[str], seconds: float, environment: dict[str, str], group: str = "") -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._rate = Path(self._folder.name, "rate")
        own = {name: value for name, value in os.environ.items() if not name.startswith(THREAD_PREFIXES)} | environment
        given = [word.format(folder=self._folder.name, rate=self._rate, seconds=seconds) for word in words]
        enter = f'echo $$ > {group}/cgroup.procs && exec "$@"' if group else 'exec "$@"'
        command = ["sh", "-c", enter, "sh", sys.executable, *given]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        self._process = subprocess.Popen(command, cwd=ROOT, env=own, text=True, start_new_session=True, **quiet)  # type: ignore

    def rate(self) -> float:
        """Wait until it has measured; return samples a second."""
        error = self._process.communicate()[1]
        if not self._rate.exists() or not (text := self._rate.read_text()):
            raise RuntimeError(f"a training failed:\n{error[-2000:]}")
        self._folder.cleanup()
        return float(text)

    @contextlib.contextmanager
    def going_on(self) -> Iterator[None]:
        """Wait until it trains, and end it afterwards."""
        try:
            while not self._rate.exists() and self._process.poll() is None:
                time.sleep(0.1)
            if self._process.poll() is not None:
                raise RuntimeError(f"a neighbour failed:\n{self._process.communicate()[1][-2000:]}")
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._folder.cleanup()


def ours(*words: str) -> list[str]:
    """Return the words of a training through the command line, without an end."""
    rate = "--callbacks.rate=benchmarks.clock.Rate --callbacks.rate.path={rate} --callbacks.rate.seconds={seconds}"
    endless = "--trainer.max_epochs=100000 --callbacks.figures=null --trainer.default_root_dir={folder}"
    return ["train.py", "fit", "--config", *words, *endless.split(), *rate.split()]


BARE_TRAINER, SPINNING_LOOP = ["-c", BARE, "{rate}", "{seconds}"], ["-c", LOOP, "{rate}"]


def alone(words: list[str], options: argparse.Namespace, environment: dict[str, str] = {}, group: str = "") -> float:  # noqa: B006
    """Return the samples a second of a training."""
    return Job(words, 0.2 if options.quick else 4.0, environment, group).rate()


def beside(words: list[str], neighbour: list[str], options: argparse.Namespace, *environments: dict[str, str]) -> float:
    """Return the samples a second of a training beside another; each may have variables of its own."""
    own, other = environments or ({}, {})
    with Job(neighbour, 1e9, other).going_on():
        return alone(words, options, own)


def share(name: str, goal: str, measured: dict[str, list[float]], way: str, of: str) -> None:
    """Record one rate as a share of another."""
    ratios = [one / other for one, other in zip(measured[way], measured[of], strict=True)]
    medians = ", ".join(f"{key} {sorted(measured[key])[len(ratios) // 2]:,.0f} samples/s" for key in (of, way))
    record(f"{name}, {way} over {of}", goal, ratios, "x", medians)


def pair(name: str, words: list[str], goal: str, options: argparse.Namespace) -> None:
    """Measure one training quiet and beside one of its kind, today and with what torch does by itself."""
    ways = {
        "before": lambda: alone(words, options, BEFORE),
        "quiet": lambda: alone(words, options),
        "beside its like": lambda: beside(words, words, options),
        "before, beside its like": lambda: beside(words, words, options, BEFORE, BEFORE),
    }
    measured = measure(options.repetitions, ways, warm_up=0)
    share(name, "at least 0.98", measured, "quiet", "before")
    share(name, goal, measured, "beside its like", "quiet")
    share(name, "", measured, "before, beside its like", "before")


def digits(options: argparse.Namespace) -> None:
    """Measure the digits, with one thread."""
    words = ours("configs/digits.yaml")
    pair("digits", words, "at least 0.8", options)
    ways = {
        "bare Trainer": lambda: beside(BARE_TRAINER, SPINNING_LOOP, options),
        "ours": lambda: beside(words, SPINNING_LOOP, options),
    }
    measured = measure(options.repetitions, ways, warm_up=0)
    share("digits beside a spinning loop", "at least 5", measured, "ours", "bare Trainer")


def table(options: argparse.Namespace) -> None:
    """Measure a table, with one thread."""
    pair("diabetes", ours("configs/diabetes.yaml"), "at least 0.8", options)


def large(options: argparse.Namespace) -> None:
    """Measure examples that take all cores."""
    fashion = ["configs/fashion_mnist.yaml", *(["--data.root", options.root] if options.root else [])]
    made_up = ["--data.train_dataset", "benchmarks.clock.MadeUpFashionMNIST"]
    with tempfile.TemporaryDirectory() as folder:
        names = {
            "multilabel": ["configs/multilabel.yaml"],
            "fashion_mnist": fashion if options.root else [*fashion, *made_up],
            "segmentation": ["configs/segmentation.yaml"],
            "gpt": ["configs/gpt.yaml", "--callbacks.samples", "null"],
            "ResNet-18": [write_config(folder, RESNET)],
        }
        for name, words in names.items():
            pair(name, ours(*words), "at least 0.42", options)


def quota(options: argparse.Namespace) -> None:
    """Measure the digits where one of the cores may be kept busy, by a control group if one can be made."""
    group, words = f"{CGROUP_MOUNT}/cpu/benchmark-{os.getpid()}", ours("configs/digits.yaml")
    try:
        Path(group).mkdir()
        Path(group, "cpu.cfs_quota_us").write_text(Path(group, "cpu.cfs_period_us").read_text())
    except OSError:
        print("quota: left out, no control group (version 1) can be made here")
        return
    try:
        ways = {"bare Trainer": lambda: alone(BARE_TRAINER, options, group=group)}
        measured = measure(options.repetitions, ways | {"ours": lambda: alone(words, options, group=group)}, warm_up=0)
    finally:
        Path(group).rmdir()
    share(f"digits, one of {os.cpu_count()} cores by a quota", "", measured, "ours", "bare Trainer")


def search(options: argparse.Namespace) -> None:
    """Measure a search of trials of the digits beside another."""
    with tempfile.TemporaryDirectory() as folder:

        def two() -> None:
            other = subprocess.Popen(
                [sys.executable, *searching(f"{folder}/other", 18)], cwd=ROOT, stdout=subprocess.PIPE
            )
            try:
                python(*searching(folder, 2 if options.quick else 6))
            finally:
                other.kill()
                other.communicate()

        ways = {"quiet": lambda: python(*searching(folder, 2 if options.quick else 6)), "beside another": two}
        measured = measure_seconds(options.repetitions, ways)
    record_ratio(
        "a search beside another over quiet, whole command", "at most 1.25", measured, "beside another", "quiet"
    )


SECTIONS = {"digits": digits, "table": table, "large": large, "quota": quota, "search": search}

if __name__ == "__main__":
    run_sections(__doc__, SECTIONS, repetitions=5)
