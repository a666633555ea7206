"""sweep: trials that are ordinary runs, kept whatever happens to the process that trains them."""

import csv
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from trainworks.callbacks.trial_report import open_storage
from trainworks.cli.search.series import _needs_one_process
from trainworks.cli.search.space import Parameter, Search
from trainworks.tests.conftest import CONFIGS, DIGITS, QUICK, ROOT, Train, same_weights

optuna = pytest.importorskip("optuna")
SPACE: dict[str, Any] = {
    "objectives": {"val/accuracy": "max"},
    "num_trials": 3,
    "sampler": {"class_path": "optuna.samplers.RandomSampler", "init_args": {"seed": 1}},
    "space": {"model.optimizer.lr": {"low": 1e-3, "high": 1e-1, "log": True}, "data.batch_size": {"choices": [32, 64]}},
}
WORDS = ("sweep", "--config", DIGITS, "--sweep", "s.yaml")


def write(folder: Path, **changes: Any) -> None:
    (folder / "s.yaml").write_text(yaml.safe_dump({k: v for k, v in (SPACE | changes).items() if v is not None}))


def trials(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "logs/digits/s/trials.csv").read_text().splitlines()))


def test_the_best_trial_is_a_config_that_gives_the_same_weights(train: Train, tmp_path: Path) -> None:
    write(tmp_path)
    result = train(*WORDS, *QUICK)
    assert (result.code, result.err) == (0, ""), result.err
    rows = trials(tmp_path)
    assert [row["state"] for row in rows] == ["complete"] * 3
    for number, row in enumerate(rows):
        run = tmp_path / f"logs/digits/s-{number:03}"
        record, config = json.loads((run / "run.json").read_text()), yaml.safe_load((run / "config.yaml").read_text())
        assert float(row["val/accuracy"]) == record["metrics"]["val/accuracy"]
        assert config["model"]["init_args"]["optimizer"]["init_args"]["lr"] == float(row["model.optimizer.lr"])
        assert config["data"]["init_args"]["batch_size"] == int(row["data.batch_size"])
        assert not any(name.startswith("test/") for name in record["metrics"])  # the choice sees no test
        assert f"--run_name s-{number:03}" in record["command"] and "fit --config" in record["command"]
    best = max(rows, key=lambda row: float(row["val/accuracy"]))
    assert re.search(rf"the best:\n +{best['trial']}  val/accuracy", result.out), result.out
    assert "importance of the parameters: not known from 3 trials; 10 are needed" in result.out
    assert not (tmp_path / "logs/digits/s/importance.png").exists()
    again = train("fit", "--config", "logs/digits/s/best.yaml", "--run_name", "again")
    assert again.code == 0, again.err
    assert same_weights(Path(best["run"]), Path("logs/digits/again"))
    folder = tmp_path / "logs/digits/s"
    assert {file.name for file in folder.glob("*.png")} >= {"history.png", "slices.png", "parallel_coordinates.png"}
    assert list(folder.glob("events.*"))
    more = SPACE | {"num_trials": 4}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(more))
    result = train(*WORDS, *QUICK)
    assert result.code == 0 and re.findall(r"^trial +(\d+)  ", result.out, re.MULTILINE) == ["3"]
    assert len({row["model.optimizer.lr"] for row in trials(tmp_path)}) == 4  # begun again, the sampler goes on
    once_more = train(*WORDS, *QUICK)
    assert once_more.code == 0 and "trial   0" not in once_more.out and "the best:" in once_more.out
    other = train(*WORDS, *QUICK, "--seed_everything", "3")
    assert other.code == 2 and "logs/digits/s was begun with another space or other settings" in other.err


def test_the_best_trial_is_a_config_for_other_data_too(train: Train, tmp_path: Path) -> None:
    """What the data said is asked again: another table has other columns and classes."""
    random = np.random.default_rng(0)
    for name, num_features, num_classes in (("a", 5, 3), ("b", 7, 4)):
        targets = np.arange(60) % num_classes
        np.savez(tmp_path / name, inputs=random.random((60, num_features)).astype(np.float32), targets=targets)
    write(tmp_path, space={"model.optimizer.lr": {"choices": [0.01]}}, num_trials=1)
    arrays = ("--config", str(CONFIGS / "arrays.yaml"), "--sweep", "s.yaml", "--data.train", "a.npz")
    result = train("sweep", *arrays, *QUICK[:2])
    assert result.code == 0, result.err
    best = ("fit", "--config", "logs/arrays/s/best.yaml", "--run_name")
    assert train(*best, "same").code == 0
    assert same_weights(tmp_path / "logs/arrays/s-000", tmp_path / "logs/arrays/same")
    other = train(*best, "other", "--data.train", "b.npz")
    assert other.code == 0, other.err
    weights = torch.load(tmp_path / "logs/arrays/other/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    shapes = [tuple(weight.shape) for name, weight in weights.items() if weight.ndim == 2]
    assert (shapes[0][1], shapes[-1][0]) == (7, 4)


def test_a_trial_that_fails_is_recorded_and_conditions_hold(train: Train, tmp_path: Path) -> None:
    space = {
        "model.optimizer": {"choices": ["torch.optim.SGD", "torch.optim.AdamW"]},
        "model.optimizer.lr": {"choices": [0.01, 1e30]},
        "model.optimizer.momentum": {"low": 0.5, "high": 0.9, "when": {"model.optimizer": "torch.optim.SGD"}},
    }
    write(tmp_path, space=space, num_trials=6)
    plain = ("--model.scheduler", "null", "--trainer.log_every_n_steps", "1")
    result = train(*WORDS, *QUICK, *plain)
    assert result.code == 0, result.err
    rows = trials(tmp_path)
    failed = [row for row in rows if row["model.optimizer.lr"] == "1e+30"]
    assert failed and all(row["state"] == "fail" and "NaN or infinite" in row["reason"] for row in failed), rows
    assert {row["state"] for row in rows if row not in failed} == {"complete"}
    assert all((row["model.optimizer.momentum"] != "") == (row["model.optimizer"] == "torch.optim.SGD") for row in rows)
    assert "failed: " in result.out


def test_pruned_trials_stop_early(train: Train, tmp_path: Path) -> None:
    pruner = {"class_path": "optuna.pruners.ThresholdPruner", "init_args": {"lower": 2.0}}  # no accuracy is so high
    write(tmp_path, pruner=pruner, num_trials=1, storage=f"sqlite:///{tmp_path}/study.db")
    result = train(*WORDS, *QUICK[2:], "--trainer.max_epochs", "3")
    assert result.code == 1 and "no trial came to its end" in result.err
    assert "pruned after epoch 1" in result.out and (tmp_path / "study.db").exists()
    checkpoint = torch.load(tmp_path / "logs/digits/s-000/checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 2  # of one epoch


def test_the_sampler_is_any_of_optuna(train: Train, tmp_path: Path) -> None:
    pytest.importorskip("cmaes")
    sampler = {"class_path": "optuna.samplers.CmaEsSampler", "init_args": {"seed": 0, "n_startup_trials": 1}}
    space = {"model.optimizer.lr": SPACE["space"]["model.optimizer.lr"], "model.net.dropout": {"low": 0.0, "high": 0.5}}
    write(tmp_path, sampler=sampler, space=space)
    result = train(*WORDS, *QUICK)
    assert (result.code, result.err) == (0, ""), result.err
    assert [row["state"] for row in trials(tmp_path)] == ["complete"] * 3
    study = optuna.load_study(study_name="digits/s", storage=open_storage("logs/digits/s/study.log"))
    assert any("cma:" in key for trial in study.trials for key in trial.system_attrs)  # it chose, not chance


@pytest.mark.two_processes
def test_processes_that_train_together_are_pruned_together(tmp_path: Path) -> None:
    pruner = {"class_path": "optuna.pruners.ThresholdPruner", "init_args": {"lower": 2.0}}  # no accuracy is so high
    write(tmp_path, pruner=pruner, num_trials=1)
    two = ("--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.max_epochs", "3", *QUICK[2:])
    command = [sys.executable, str(ROOT / "train.py"), *WORDS, *two]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and "no trial came to its end" in done.stderr, done.stderr
    assert "pruned after epoch 1" in done.stdout
    record = json.loads((tmp_path / "logs/digits/s-000/run.json").read_text())
    assert (record["exit_status"], record["hardware"]["num_devices"]) == (0, 2), record


def test_several_objectives_have_a_front(train: Train, tmp_path: Path) -> None:
    write(tmp_path, objectives={"val/accuracy": "max", "val/loss": "min"}, sampler="optuna.samplers.TPESampler")
    result = train(*WORDS, *QUICK)
    assert result.code == 0, result.err
    assert "none beaten in all objectives:" in result.out and (tmp_path / "logs/digits/s/front.png").exists()


def test_a_grid_ends_by_itself_and_its_best_is_repeated_with_other_seeds(train: Train, tmp_path: Path) -> None:
    space = {"model.optimizer.lr": {"choices": [0.02, 1e-6]}}
    write(tmp_path, space=space, sampler="optuna.samplers.BruteForceSampler", num_trials=50)
    result = train(*WORDS, *QUICK, "--num_seeds", "2", "--num_best", "1")
    assert result.code == 0, result.err
    assert len(trials(tmp_path)) == 2
    (number, mean) = re.findall(r"trial +(\d)  (\S+) ± \S+  \(in the search", result.out)[0]
    runs = [tmp_path / f"logs/digits/s-00{number}-seed{seed}" for seed in (1, 2)]
    values = [json.loads((run / "run.json").read_text())["metrics"]["val/accuracy"] for run in runs]
    assert float(mean) == pytest.approx(sum(values) / 2, abs=1e-4)


def test_every_named_value_is_checked_but_of_many_numbers_the_ends() -> None:
    space = [
        Parameter("lr", low=0.1, high=1.0),
        Parameter("width", choices=[8, 64, 16, 32, 128, 4]),
        Parameter("kind", choices=["a", "b", "c", "d", "e"]),
        Parameter("depth", choices=[1, 2, 3, 4, 5]),
        Parameter("more", choices=[True, False], when={"depth": 3}),
    ]
    corners = list(Search({"x": "min"}, space).corners())
    assert len(corners) == 5
    assert {chosen["width"] for chosen in corners} == {4, 128}
    assert {chosen["kind"] for chosen in corners} == set("abcde")
    assert {chosen["depth"] for chosen in corners} == {1, 2, 3, 4, 5}  # another depends on it
    assert [chosen["depth"] for chosen in corners if "more" in chosen] == [3]


def test_mistakes(train: Train, tmp_path: Path) -> None:
    lr, dropout, batch = "model.optimizer.lr", "model.net.dropout", "data.batch_size"
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"objectives": {"val/accuracy": "most"}}, "objectives must map metrics to min or max"),
        ({"space": {f"{lr}r": {"low": 0.1, "high": 0.2}}}, f"with --{lr}r 0.1: .*takes no 'lrr'"),
        ({"space": {dropout: {"low": 0.3, "high": 0.2}}}, f"space.{dropout}: low must be below high"),
        ({"space": {dropout: {"lo": 0.3, "high": 0.2}}}, r"got 'lo' \(did you mean low\?\)"),
        ({"space": {dropout: {"choices": 0.1}}}, r"needs choices: \[...\], or low and high"),
        ({"space": {dropout: {"low": 0.1, "high": 0.4, "step": "a"}}}, "low, high and step must be numbers, got .*'a'"),
        ({"space": {dropout: {"low": 0.1}}}, r"needs choices: \[...\], or low and high"),
        ({"space": {batch: {"choices": [1], "when": {"a": 1}}}}, "when names a, which is not above it"),
        ({"num_trial": 3}, r"'num_trial' is not one of .* \(did you mean num_trials\?\)"),
        ({"num_trials": 0}, "num_trials must be at least 1, got 0"),
        ({"space": {dropout: {"low": 0.1, "high": 0.4, "when": 3}}}, "and when, if there is one, key: value"),
        ({"storage": "mysql+no://x"}, r"storage mysql\+no://x cannot be opened: Can't load plugin"),
        ({"sampler": "optuna.samplers.GridSampler"}, f"GridSampler needs choices, and space.{lr} is a range"),
        ({"sampler": "optuna.samplers.Nothing"}, "sampler needs optuna.samplers.Nothing, which cannot be imported"),
        ({"sampler": 3}, "sampler must be a class_path, with init_args if it needs some; got 3"),
        ({"pruner": {"init_args": {}}}, "pruner must be a class_path, .*; got {'init_args"),
    ]
    for number, (changes, message) in enumerate(wrong):
        write(tmp_path, **changes)
        result = train(*WORDS, *QUICK, "--run_name", f"r{number}")
        assert result.code and re.search(message, result.err) and "Traceback" not in result.err, (changes, result)
    write(tmp_path)
    for words, message in {
        ("--objectives", "{val/loss: min"): "--objectives {val/loss: min: broken YAML: ",
        ("--run_name", "a/b"): "--run_name must be a plain folder name, got 'a/b'\n",
    }.items():
        result = train(*WORDS, *words)
        assert (result.code, result.err.startswith(f"error: {message}")) == (2, True), result.err
    result = train("sweep", "--config", DIGITS, "--sweep", "gone.yaml")
    assert (result.code, result.err) == (2, "error: --sweep gone.yaml: no such file\n")
    write(tmp_path, objectives={"val/accuracy": "max", "val/loss": "min"})
    result = train(*WORDS, "--num_seeds", "2")
    assert (result.code, "--num_seeds needs one objective" in result.err) == (2, True)
    result = train("sweep", "--config", DIGITS)
    wanted = "error: sweep needs --sweep FILE, what is searched, such as configs/sweeps/digits.yaml\n"
    assert (result.code, result.err) == (2, wanted)


@pytest.mark.parametrize(
    ("objectives", "message", "is_kept"),
    [
        (
            {"val/acuracy": "max"},
            r"'val/acuracy', which \w+ does not log \(did you mean val/accuracy\?\); it logs",
            False,
        ),
        ({"val/loss": "min", "val/acuracy": "max"}, r"'val/acuracy', which \w+ does not log \(did you mean", False),
        ({"train/acuracy": "max"}, r"'train/acuracy', which was not logged \(did you mean train/accuracy\?\)", True),
    ],
)
def test_an_objective_that_is_not_logged_stops_the_search(
    train: Train, tmp_path: Path, objectives: dict[str, str], message: str, is_kept: bool
) -> None:
    """After its first trial, before that took a step where the module tells its metrics: then it may begin anew."""
    write(tmp_path, objectives=objectives)
    result = train(*WORDS, *QUICK)
    assert result.code == 2 and re.search(f"^error: the search is for {message}", result.err, re.MULTILINE), result.err
    assert "trial " not in result.out and not (tmp_path / "logs/digits/s-001").exists()
    assert (tmp_path / "logs/digits/s-000").exists() == is_kept
    again = train(*WORDS, *QUICK, "--objectives", "{val/accuracy: max}", "--num_trials", "1")
    assert again.code == (2 if is_kept else 0), again.err
    assert ("take a new --run_name" in again.err) == is_kept


def test_runs_of_another_search_are_no_trials(train: Train, tmp_path: Path) -> None:
    """The folder of a search was removed, and its runs were not: their metrics belong to other values."""
    write(tmp_path, space={"model.optimizer.lr": {"choices": [0.01]}}, num_trials=1)
    assert train(*WORDS, *QUICK).code == 0
    shutil.rmtree(tmp_path / "logs/digits/s")
    write(tmp_path, space={"model.optimizer.lr": {"choices": [0.02]}}, num_trials=1)
    result = train(*WORDS, *QUICK)
    message = "error: logs/digits/s-000 was trained with another model.optimizer.lr; write a new --run_name\n"
    assert (result.code, result.err.endswith(message)) == (2, True), result.err
    write(tmp_path, space={"model.optimizer.lr": {"choices": [0.01]}}, num_trials=1)
    assert train(*WORDS, *QUICK, "--run_name", "t").code == 0


def test_a_mistake_in_all_trials_stops_the_search(train: Train, tmp_path: Path) -> None:
    write(tmp_path, num_trials=9)
    result = train(*WORDS, *QUICK, "--model.loss", "torch.nn.BCEWithLogitsLoss")
    assert result.code == 2 and "error: the first 3 trials failed alike: " in result.err, result
    assert re.findall(r"^trial +(\d)", result.out, re.MULTILINE) == ["0", "1"]
    assert train(*WORDS, *QUICK, "--num_trials", "1").code == 0  # and the corrected one begins anew


def test_without_the_package_it_says_what_to_install(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path)
    monkeypatch.delitem(sys.modules, "trainworks.cli.search.study", raising=False)
    monkeypatch.setitem(sys.modules, "optuna", None)
    result = train(*WORDS)
    assert (result.code, result.err) == (2, "error: sweep needs the package optuna; write pip install -e '.[search]'\n")


@pytest.mark.parametrize(
    ("trainer", "one"),
    [
        ({"devices": 1}, True),
        ({"accelerator": "cpu"}, True),
        ({"devices": 2, "accelerator": "cpu"}, False),
        ({"devices": "1", "num_nodes": 2}, False),
    ],
)
def test_who_trains_in_this_process(trainer: dict[str, Any], one: bool) -> None:
    assert _needs_one_process({"trainer": trainer}) == one


@pytest.mark.kills
def test_a_killed_worker_loses_nothing(tmp_path: Path) -> None:
    write(tmp_path, num_trials=3)
    command = [sys.executable, str(ROOT / "train.py"), *WORDS, "--trainer.max_epochs", "6"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, start_new_session=True)
    last = tmp_path / "logs/digits/s-001/checkpoints/last.ckpt"
    while not last.exists():
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    first = json.loads((tmp_path / "logs/digits/s-000/run.json").read_text())
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "trial   0" not in done.stdout and "trial   1" in done.stdout
    rows = trials(tmp_path)
    assert [row["state"] for row in rows] == ["complete"] * 3
    assert json.loads((tmp_path / "logs/digits/s-000/run.json").read_text()) == first
    assert "resumed" in json.loads((tmp_path / "logs/digits/s-001/run.json").read_text())
    alone = [*command[:2], "fit", "--config", "logs/digits/s-001/config.yaml", "--run_name", "alone"]
    assert subprocess.run(alone, cwd=tmp_path, capture_output=True).returncode == 0
    assert same_weights(tmp_path / "logs/digits/s-001", tmp_path / "logs/digits/alone")


@pytest.mark.two_processes
def test_two_workers_share_the_trials(tmp_path: Path) -> None:
    write(tmp_path, num_trials=6)
    outs = _two_workers(tmp_path)
    trained = [re.findall(r"^trial +(\d+)  ", out, re.MULTILINE) for out in outs]
    assert sorted(trained[0] + trained[1]) == [str(number) for number in range(6)]
    assert all(trained), outs
    assert len({row["model.optimizer.lr"] for row in trials(tmp_path)}) == 6  # one seed, and no value twice
    assert sum("the best:" in out for out in outs) >= 1
    assert [row["state"] for row in trials(tmp_path)] == ["complete"] * 6


@pytest.fixture
def postgres() -> Iterator[str]:
    """The URL of a real server that ends with the test."""
    pytest.importorskip("psycopg")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    if not found:
        pytest.skip("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp())  # which the server's user may enter
    folder.chmod(0o777)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []  # it does not run as root
    control = [*user, str(found[-1]), "-D", f"{folder}/data"]
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
    subprocess.run([*control, "-s", "initdb", "-o", "-A trust -U search"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([*control, "-s", "-w", "-l", f"{folder}/log", "-o", options, "start"], check=True)
    yield f"postgresql+psycopg://search@127.0.0.1:{port}/postgres"
    subprocess.run([*control, "-s", "-m", "immediate", "stop"], check=True)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.two_processes
def test_a_study_in_postgresql(tmp_path: Path, postgres: str) -> None:
    write(tmp_path, num_trials=4, storage=postgres, pruner="optuna.pruners.MedianPruner")
    outs = _two_workers(tmp_path)
    trained = [re.findall(r"^trial +(\d+)  ", out, re.MULTILINE) for out in outs]
    assert sorted(trained[0] + trained[1]) == ["0", "1", "2", "3"]
    (study,) = optuna.get_all_study_summaries(open_storage(postgres))
    assert (study.study_name, study.n_trials) == ("digits/s", 4)
    assert not (tmp_path / "logs/digits/s/study.log").exists()


def _two_workers(folder: Path) -> list[str]:
    """Run the same command twice at a time and return what each printed."""
    command = [sys.executable, str(ROOT / "train.py"), *WORDS, "--trainer.max_epochs", "2"]
    pipe = subprocess.PIPE
    workers = [subprocess.Popen(command, cwd=folder, stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
    outs = [worker.communicate(timeout=300) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outs
    return [out for out, _ in outs]


def test_importance_is_the_share_of_the_variation() -> None:
    import optuna

    from trainworks.cli.search.report import _importance

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: 3 * trial.suggest_float("lr", 0, 1) + trial.suggest_float("decay", 0, 1), n_trials=40)
    found = _importance(SimpleNamespace(optuna=study))  # type: ignore[arg-type]
    assert found["lr"] == pytest.approx(0.9, abs=0.08)  # 9 of 10 parts of the variance
    assert found == _importance(SimpleNamespace(optuna=study))  # type: ignore[arg-type]
