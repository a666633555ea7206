import csv
import json
import os
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from trainworks.root import ROOT
from trainworks.tests.conftest import DIGITS, PLAIN, QUICK, Train

RUN = Path("logs/digits/a")
KINDS = "lightning.pytorch.loggers"


class Recorder(Logger):
    """Keeps what is sent in a file; cannot be reached in epoch 1."""

    name, version = "recorder", ""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if metrics.get("epoch") == 1:
            raise ConnectionError("no route")
        with Path("sent.jsonl").open("a") as file:
            file.write(json.dumps([step, sorted(metrics)]) + "\n")

    @rank_zero_only
    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        raise ConnectionError("no route")


def as_if_killed() -> None:
    """Leave the run as if it had been killed in its last epoch."""
    record = json.loads((RUN / "run.json").read_text())
    (RUN / "run.json").write_text(json.dumps(record | {"exit_status": None}))
    (RUN / "checkpoints/last.ckpt").unlink()


def sent() -> list[Any]:
    return [json.loads(line) for line in Path("sent.jsonl").read_text().splitlines()]


def test_a_tracker_that_fails_ends_nothing_and_gets_no_step_twice(train: Train) -> None:
    words = (
        "--config",
        DIGITS,
        *QUICK,
        "--run_name",
        "a",
        "--trainer.max_epochs",
        "4",
        "--trainer.log_every_n_steps",
        "1",
    )
    words += ("--trainer.logger", f"{__name__}.Recorder")
    result = train("fit", *words)
    assert (result.code, result.err) == (0, "")
    assert result.out.count("Recorder failed and is tried again each epoch; the training goes on: no route") == 1
    first = sent()
    assert {step for step, names in first if "val/loss" in names} == {1, 5, 7} and "tensorboard" not in result.out
    as_if_killed()
    again = train("fit", *words, "--resume", str(RUN))
    assert again.code == 0 and "step 6" in again.out, again.err
    assert sent() == first  # all had been sent


def test_a_missing_package_is_named(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainworks.cli.trackers.find_spec", lambda name: None)
    for kind, package in (("WandbLogger", "wandb"), ("MLFlowLogger", "mlflow")):
        result = train("fit", "--config", DIGITS, *QUICK, "--trainer.logger", f"{KINDS}.{kind}")
        assert (result.code, f"{kind} needs the package {package}; write pip install" in result.err) == (2, True)
    assert not Path("logs").exists()


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")  # SQLAlchemy of MLflow's own tables
def test_a_server_that_never_answers_is_left_alone(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow")
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:  # the system takes connections, nobody answers
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        words = ("--trainer.logger", f"{KINDS}.MLFlowLogger", "--trainer.max_epochs", "4", "--run_name", "a")
        result = train("fit", "--config", DIGITS, *PLAIN, *words)
        server.setblocking(False)
        for _ in range(2):  # the first request and its second try
            server.accept()[0].close()
        with pytest.raises(BlockingIOError):
            server.accept()
    assert (result.code, result.err) == (0, "") and result.out.count("MLFlowLogger failed and is tried again") == 1


def test_csv_files_stay_when_a_run_continues(train: Train) -> None:
    words = ("--config", DIGITS, *QUICK, "--run_name", "a", "--trainer.logger", f"{KINDS}.CSVLogger")
    words += ("--trainer.logger.save_dir", "csv", "--trainer.logger.name", "", "--trainer.log_every_n_steps", "1")
    for end in (as_if_killed, dict):
        result = train("fit", *words, "--trainer.max_epochs", "2", "--resume", "auto")
        assert (result.code, result.err) == (0, "")
        end()
    steps = []
    for part in ("version_0", "version_1"):
        with (RUN / "csv" / part / "metrics.csv").open(newline="") as file:
            steps.append({int(row["step"]) for row in csv.DictReader(file)})
    assert steps == [{0, 1, 2, 3}, {2, 3}]
    assert (RUN / "metrics.csv").read_text().count("\n") == 3


def killed_and_continued(folder: Path, kind: str) -> str:
    """Kill a training with a tracker within its fourth epoch or later, and go on; return what was printed."""
    tracked = (
        f"[{{class_path: {KINDS}.{kind}, init_args: {{save_dir: .}}}}]" if kind == "WandbLogger" else f"{KINDS}.{kind}"
    )
    words = ["fit", "--config", DIGITS, *PLAIN, "--run_name", "a", "--resume", "auto", "--trainer.logger", tracked]
    words += ["--trainer.max_epochs", "30", "--trainer.log_every_n_steps", "1", "--callbacks.last.every_n_steps", "7"]
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_SILENT": "true", "MLFLOW_TRACKING_URI": ""}
    environment |= {"PYTHONWARNINGS": "ignore", "GIT_PYTHON_REFRESH": "quiet"}
    command = [sys.executable, str(ROOT / "train.py"), *words]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL) as process:
        table, start = folder / RUN / "metrics.csv", time.monotonic()
        while not (table.is_file() and table.read_text().count("\n") > 4):
            assert process.poll() is None and time.monotonic() - start < 120
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "continues from" in done.stdout, done.stderr
    return done.stdout


@pytest.mark.kills
def test_mlflow_goes_on_with_the_same_run(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    out = killed_and_continued(tmp_path, "MLFlowLogger")
    assert f"mlflow ui --backend-store-uri sqlite:///{tmp_path}/logs/mlflow.db" in out
    with sqlite3.connect(tmp_path / "logs/mlflow.db") as store:
        names = store.execute("select run_uuid, name from runs").fetchall()
        rows = store.execute("select key, step from metrics").fetchall()
    store.close()
    known = json.loads((tmp_path / RUN / "run.json").read_text())["trackers"]
    assert names == [(known["MLFlowLogger"], "a")]
    counts = Counter(row for row in rows if row[0] != "epoch")  # which Lightning adds to all that it sends
    assert max(counts.values()) == 1 and ("val/loss", 599) in rows


def records_of(file: Path) -> Iterator[bytes]:
    """Yield what stands in a log of LevelDB's format, after a head of 7 bytes."""
    content, position, parts = file.read_bytes(), 7, b""
    while position + 7 <= len(content):
        if 32768 - position % 32768 < 7:  # a head is never divided between two blocks
            position += 32768 - position % 32768
            continue
        length, kind = struct.unpack("<HB", content[position + 4 : position + 7])
        if kind == 0 or position + 7 + length > len(content):  # torn by the kill
            return
        parts = (b"" if kind in (1, 2) else parts) + content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):
            yield parts


@pytest.mark.kills
def test_weights_and_biases_goes_on_with_the_same_run(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    out = killed_and_continued(tmp_path, "WandbLogger")
    files = sorted((tmp_path / RUN / "wandb").glob("offline-run-*/*.wandb"))
    known = json.loads((tmp_path / RUN / "run.json").read_text())["trackers"]["WandbLogger"]
    assert [file.name for file in files] == [
        f"run-{known}.wandb"
    ] * 2 and "wandb sync logs/digits/a/wandb/offline-run" in out
    steps: list[set[int]] = []
    for file in files:
        found = set()
        for data in records_of(file):
            for item in Record.FromString(data).history.item:
                if "trainer/global_step" in (item.key, *item.nested_key):
                    found.add(int(item.value_json))
        steps.append(found)
    assert steps[0] and steps[1] and max(steps[0]) < min(steps[1])
