"""The run directory `<root>/<experiment>/<run_name>`: made once, locked while in use, described by run.json."""

import contextlib
import hashlib
import importlib.metadata
import itertools
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from trainworks import __version__
from trainworks.errors import UsageError
from trainworks.root import LIBRARY, ROOT
from trainworks.runs.files import is_checkpoint, write_in_one_step

Metrics = dict[str, float]
OWN_FILES = re.compile(r"\.lock|config\.yaml|run\.json(\.tmp)?|train\.log|hparams\.yaml|events\.out\.tfevents.*")
PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "jsonargparse", "numpy")
RUNNING = {"end": None, "exit_status": None, "error": None}  # what is known only at the end
NAME_VARIABLE = "TRAIN_RUN_NAME"  # tells the processes that rank 0 starts which run they belong to
TRIAL_VARIABLE = "TRAIN_TRIAL"  # tells processes of a trial which callbacks it gets, as JSON


class Run:
    """One run directory: config.yaml, run.json, train.log, event files and checkpoints/."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = FileLock(directory / ".lock", timeout=0)

    @classmethod
    def create(cls, root: str, experiment: str, name: str | None, job: str | None, makes: bool) -> "Run":
        """Make a run directory, or take over that of a run `name` without a step; on others than rank 0, find it."""
        parent = Path(root) / experiment
        wanted = name or job or datetime.now().strftime("%Y%m%d-%H%M%S")
        if not makes:
            return cls(parent / os.environ.get(NAME_VARIABLE, wanted))
        check_name(wanted)
        if not (parts := Path(experiment).parts) or parts[0] == "/" or ".." in parts:
            raise UsageError(f"experiment must be a plain folder name, got '{experiment}'")
        run = cls(parent / wanted)
        for number in itertools.count(2):
            try:
                run.directory.mkdir(parents=True)
                break
            except OSError as error:
                if not os.path.exists(run.directory):  # nor is the name too long
                    how = "choose another trainer.default_root_dir or --run_name"
                    raise UsageError(f"{run.directory}: {error.strerror}; {how}") from None
                if name:
                    break
                run = cls(parent / f"{wanted}-{number}")
        run._clear()
        os.environ[NAME_VARIABLE] = run.directory.name
        return run

    @property
    def best_checkpoint(self) -> Path:
        """Path of the best checkpoint, which may not exist yet; of the last one where a whole training kept no best."""
        best, last = (self.directory / "checkpoints" / f"{name}.ckpt" for name in ("best", "last"))
        return last if is_checkpoint(last) and not is_checkpoint(best) and self.is_finished else best

    @property
    def started(self) -> str:
        """When the run began, as ISO 8601 text in UTC; the folder's own time if run.json cannot tell."""
        return self.read().get("start") or _iso(self.directory.stat().st_mtime)

    @property
    def first_config(self) -> str | None:
        """The first file after --config in the command that began the run, as it was typed; None if there was none."""
        words = shlex.split(self.read().get("command", ""))
        named = [after for word, after in itertools.pairwise(words) if word in ("--config", "-c")]
        return named[0] if named else None

    @property
    def is_finished(self) -> bool:
        """Whether the whole command ended well."""
        return self.read().get("exit_status") == 0

    @property
    def num_threads(self) -> int | None:
        """The number of threads that the run trains with, None until its first batch is done."""
        return self.read().get("hardware", {}).get("threads")

    @property
    def metrics(self) -> dict[str, Any]:
        """The last value of each metric, and as best/<name> that of the best checkpoint."""
        record = self.read()
        best = record.get("best", {})  # a folder that only holds a checkpoint and its evaluations has none
        return {f"best/{key}": value for key, value in best.items()} | record.get("metrics", {})

    def lock(self) -> None:
        """Hold the run for this process until it ends, however it ends."""
        try:
            with contextlib.suppress(NotImplementedError):  # a file system without locks: nothing to hold
                self._lock.acquire()
        except Timeout:
            raise UsageError(f"{self.directory} is in use by another process; wait for it or stop it") from None

    def _clear(self) -> None:
        """Hold a run and remove what was recorded of it, but for its log; one that took a training step is kept."""
        if self._is_untouched():
            self.lock()
        if not self._is_untouched():  # or another process was faster
            self.unlock()
            what = "choose another --run_name, or continue it with --resume auto"
            raise UsageError(f"run '{self.directory.name}' exists: {self.directory}; {what}")
        for file in self.directory.glob("[!.]*"):
            if file.is_file() and file.name != "train.log":
                file.unlink()

    def _is_untouched(self) -> bool:
        """Whether no training step was taken, and nothing stands there but what is written before the first."""
        names = [file.name for file in self.directory.rglob("*") if not file.is_dir()]
        return not (self.is_finished or self.num_threads) and all(map(OWN_FILES.fullmatch, names))

    def unlock(self) -> None:
        """Let go of the run."""
        self._lock.release(force=True)

    def discard(self) -> None:
        """Remove a run in which nothing was trained."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self.unlock()
        for folder in self.directory.parents[:2]:  # experiment and root, unless other runs stand there
            with contextlib.suppress(OSError):
                folder.rmdir()

    def read(self) -> dict[str, Any]:
        """Return the content of run.json, empty if there is none that can be read."""
        try:
            return json.loads((self.directory / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    def write(self, content: dict[str, Any]) -> None:
        """Replace run.json by `content` in one step; numbers JSON lacks (NaN, infinity) become null."""
        content = json.loads(json.dumps(content), parse_constant=lambda name: None)
        write_in_one_step(self.directory / "run.json", json.dumps(content, indent=2) + "\n")

    def start(self, start: float, typed: list[str], hardware: dict[str, Any]) -> None:
        """Write run.json as it stands when the run begins; `typed` are the words after train.py."""
        versions = {"python": platform.python_version(), **{p: importlib.metadata.version(p) for p in PACKAGES}}
        versions["trainworks"] = __version__
        hardware = {"platform": platform.platform(), "cpus": os.cpu_count(), **hardware}
        content = _origin(typed) | {"versions": versions, "hardware": hardware, "start": _iso(start)}
        self.write(content | RUNNING | {"metrics": {}, "best": {}})

    def start_again(self, start: float, typed: list[str], checkpoint: str) -> None:
        """Note in run.json that the run continues."""
        content = self.read() | RUNNING
        content.setdefault("resumed", []).append(_origin(typed) | {"checkpoint": checkpoint, "start": _iso(start)})
        self.write(content)

    def keep_threads(self, number: int) -> None:
        """Write with how many threads the run trains, with which it must go on."""
        content = self.read()
        content.setdefault("hardware", {})["threads"] = number
        self.write(content)

    def finish(self, status: int, error: str | None, metrics: Metrics, ending: dict[str, Any]) -> None:
        """Write how the run ended: its last metrics, and what else is known, such as of the best checkpoint."""
        content = self.read() | ending
        content.setdefault("metrics", {}).update(metrics)
        self.write(content | {"end": _iso(time.time()), "exit_status": status, "error": error})

    def add_evaluation(
        self, stage: str | None, start: float, typed: list[str], checkpoint: str, status: int, metrics: Metrics
    ) -> None:
        """Append an evaluation, such as a "test", to run.json and take over its metrics."""
        content = self.read()
        entry: dict[str, Any] = {"stage": stage, "command": _command(typed), "checkpoint": checkpoint}
        entry |= {"start": _iso(start), "end": _iso(time.time()), "exit_status": status, "metrics": metrics}
        content.setdefault("metrics", {}).update(metrics)
        content.setdefault("evaluations", []).append(entry)
        self.write(content)


def check_name(name: str) -> None:
    """Refuse a name of a run, or of a series of them, that is no plain folder name."""
    if any(part in name for part in ("/", "\\")) or name in (".", ".."):
        raise UsageError(f"--run_name must be a plain folder name, got '{name}'")


def _command(typed: list[str]) -> str:
    return shlex.join(["train.py", *typed])


def _origin(typed: list[str]) -> dict[str, Any]:
    return {"command": _command(typed), "git": _git(), "code": _code()}


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _code() -> dict[str, str]:
    """Return a hash of each imported file of the project, by its path; those of the library have its version."""
    named = {getattr(module, "__file__", None) or "" for module in [*sys.modules.values()]}
    found = [Path(name) for name in named if name.startswith(f"{ROOT}{os.sep}") and "site-packages" not in name]
    own = sorted(file for file in found if not file.is_relative_to(LIBRARY) and file.suffix == ".py" and file.is_file())
    # with the line endings of Unix, so that a checkout on Windows has the same hashes
    contents = {file.relative_to(ROOT).as_posix(): file.read_bytes().replace(b"\r\n", b"\n") for file in own}
    return {name: hashlib.sha256(content).hexdigest()[:16] for name, content in contents.items() if content}


def _git() -> dict[str, Any] | None:
    """Return commit and dirty flag of the code, or None outside a repository or without git."""
    command = ["git", "-C", str(ROOT), "status", "--porcelain=v2", "--branch"]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    commit, *lines = shown.splitlines()
    return {"commit": commit.split()[-1], "dirty": not all(line.startswith("# ") for line in lines)}
