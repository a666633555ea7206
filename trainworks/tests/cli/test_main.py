"""The commands, run for real."""

import gc
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainworks.cli.command import command_names, find_command
from trainworks.cli.defaults import defaults
from trainworks.tests.conftest import DIGITS, PLAIN, QUICK, ROOT, Train


def read_run(directory: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((directory / "run.json").read_text())
    return content


def best_weights(directory: Path, name: str = "last") -> dict[str, torch.Tensor]:
    checkpoint = torch.load(directory / "checkpoints" / f"{name}.ckpt", weights_only=True)
    weights: dict[str, torch.Tensor] = checkpoint["state_dict"]
    return weights


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Run the README's command once, whole, in a process of its own."""
    folder = tmp_path_factory.mktemp("digits")
    command = [sys.executable, str(ROOT / "train.py"), "--config", DIGITS]
    return folder, subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)


def test_the_main_job_learns_and_says_what_it_did(digits: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = digits
    assert (done.returncode, done.stderr) == (0, "")
    (run,) = (folder / "logs" / "digits").iterdir()
    shown = run.relative_to(folder)
    summary = dict(line.split("  ", 1) for line in done.stdout.splitlines()[-8:] if "  " in line)
    assert float(summary["test/accuracy"]) > 0.98
    assert float(summary["seconds"]) > 1
    assert summary["best checkpoint"].strip() == str(shown / "checkpoints/best.ckpt")
    assert summary["run directory"].strip() == str(shown)
    assert done.stdout.splitlines()[-1] == "tensorboard --logdir logs/digits"
    assert sum("train/loss " in line for line in done.stdout.splitlines()) == 20


def test_the_run_directory_is_complete(digits: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = digits
    (run,) = (folder / "logs" / "digits").iterdir()
    assert len(run.name) == len("YYYYMMDD-HHMMSS")
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt", "last-1.ckpt"}
    assert (run / "train.log").read_text() == done.stdout
    record = read_run(run)
    assert record["command"].endswith(f"train.py --config {DIGITS}")
    assert torch.__version__.startswith(record["versions"]["torch"])
    assert (record["exit_status"], record["error"]) == (0, None)
    assert record["start"] < record["end"]
    assert set(record["git"] or {"commit": "", "dirty": False}) == {"commit", "dirty"}
    expected = {f"{stage}/{name}" for stage in ("train", "val", "test") for name in ("loss", "accuracy")}
    assert set(record["metrics"]) == expected
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["experiment"] == "digits"
    assert config["seed_everything"] == 0
    assert config["model"]["init_args"]["net"]["init_args"]["num_classes"] == 10
    assert not {"run_name", "ckpt_path", "config"} & set(config)
    assert run.name not in (run / "config.yaml").read_text()


def test_tensorboard_holds_the_values_of_the_run(digits: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    (run,) = (digits[0] / "logs" / "digits").iterdir()
    events = EventAccumulator(str(run)).Reload()
    last = {tag: events.Scalars(tag)[-1].value for tag in events.Tags()["scalars"]}
    metrics = read_run(run)["metrics"]
    assert {tag: last[tag] for tag in metrics} == pytest.approx(metrics)
    assert [len(events.Scalars(tag)) for tag in ("train/loss", "val/accuracy", "test/accuracy")] == [20, 20, 1]
    steps = 20 * (1294 // 64)
    assert [event.step for event in events.Scalars("train/loss_step")] == list(range(9, steps, 10))
    rates = [event.value for event in events.Scalars("lr")]
    assert max(rates) == pytest.approx(0.005, rel=0.05)
    assert rates[-1] < 1e-4


def test_the_saved_config_reproduces_the_run(train: Train, tmp_path: Path) -> None:
    assert train("fit", "--config", DIGITS, *QUICK, "--run_name", "a", "--seed_everything", "5").code == 0
    assert train("fit", "--config", "logs/digits/a/config.yaml", "--run_name", "b").code == 0
    first, second = (best_weights(tmp_path / "logs/digits" / name) for name in "ab")
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert (tmp_path / "logs/digits/a/config.yaml").read_text() == (tmp_path / "logs/digits/b/config.yaml").read_text()


@pytest.mark.long
def test_another_seed_gives_other_weights(train: Train, tmp_path: Path) -> None:
    for seed in "12":
        assert train("fit", "--config", DIGITS, *QUICK, "--run_name", seed, "--seed_everything", seed).code == 0
    first, second = (best_weights(tmp_path / "logs/digits" / name) for name in "12")
    assert not torch.equal(first["net.head.weight"], second["net.head.weight"])


def test_overrides_and_later_files_reach_references(train: Train, tmp_path: Path) -> None:
    (tmp_path / "twelve.yaml").write_text("data: {init_args: {num_classes: 12}}\n")
    for words in (("--config", "twelve.yaml"), ("--data.num_classes", "12"), ("--data.init_args.num_classes=12",)):
        result = train("--config", DIGITS, *words, "--print_config")
        assert result.code == 0
        arguments = yaml.safe_load(result.out)["model"]["init_args"]
        assert arguments["net"]["init_args"]["num_classes"] == 12
        assert arguments["metrics"]["accuracy"]["init_args"]["num_classes"] == 12
    assert not (tmp_path / "logs").exists()


def test_a_whole_number_of_batches_is_no_share(train: Train, tmp_path: Path) -> None:
    (tmp_path / "limits.yaml").write_text("trainer: {limit_test_batches: 1, val_check_interval: 1}")
    words = ("--trainer.limit_val_batches", "1", "--trainer.limit_train_batches", "1.0", "--config", "limits.yaml")
    shown = yaml.safe_load(train("--config", DIGITS, *words, "--print_config").out)["trainer"]
    names = ("limit_val_batches", "limit_test_batches", "val_check_interval", "limit_train_batches")
    assert [repr(shown[name]) for name in names] == ["1", "1", "1", "1.0"]


def test_a_swapped_class_gets_no_arguments_of_the_one_before(train: Train, tmp_path: Path) -> None:
    optimizer = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}
    (tmp_path / "sgd.yaml").write_text(yaml.safe_dump({"model": {"init_args": {"optimizer": optimizer}}}))
    typed = ("--model.optimizer.class_path", "torch.optim.SGD", "--model.optimizer.lr", "0.1")
    for words in (("--config", "sgd.yaml"), typed):
        result = train("--config", DIGITS, *words, "--print_config")
        arguments = yaml.safe_load(result.out)["model"]["init_args"]["optimizer"]["init_args"]
        assert (arguments["lr"], arguments["weight_decay"]) == (0.1, 0)


def test_evaluation_takes_the_newest_run_with_its_own_config(train: Train, tmp_path: Path) -> None:
    for name, layers in (("old", "[4]"), ("new", "[8, M, 8]")):
        assert train("fit", "--config", DIGITS, *QUICK, "--run_name", name, "--model.net.layers", layers).code == 0
    before = sorted(path for path in (tmp_path / "logs/digits").iterdir())
    for command in ("validate", "test", "predict"):
        result = train(command, "--config", DIGITS)
        assert result.code == 0, result.err
        assert f"{command}: logs/digits/new/checkpoints/best.ckpt" in result.out
    assert sorted(path for path in (tmp_path / "logs/digits").iterdir()) == before
    assert train("test", "--config", DIGITS, "--run_name", "old").code == 0
    assert train("test", "--ckpt_path", "logs/digits/old/checkpoints/last.ckpt", "--data.batch_size", "7").code == 0
    assert train("test", "--config", "logs/digits/old/config.yaml").code == 0
    record = read_run(tmp_path / "logs/digits/old")
    assert [entry["checkpoint"].split("/")[-1] for entry in record["evaluations"]] == [
        "best.ckpt",
        "last.ckpt",
        "best.ckpt",
    ]
    assert record["metrics"]["test/accuracy"] == record["evaluations"][-1]["metrics"]["test/accuracy"]
    rows = (tmp_path / "logs/digits/new/predictions.csv").read_text().splitlines()
    assert rows[0] == "input,target,class,confidence"
    samples = [int(row.split(",")[0]) for row in rows[1:]]  # their numbers in the data that the split was made from
    assert samples == sorted(set(samples)) != list(range(len(samples)))
    right = [row.split(",")[1] == row.split(",")[2] for row in rows[1:]]
    accuracy = read_run(tmp_path / "logs/digits/new")["metrics"]["test/accuracy"]
    assert sum(right) / len(right) == pytest.approx(accuracy)


def test_evaluation_passes_over_runs_without_a_checkpoint(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    assert train("fit", "--config", DIGITS, *QUICK, "--run_name", "good").code == 0
    monkeypatch.setenv("BOMB", "batch:1")
    bomb = "--callbacks.bomb=trainworks.tests.bomb.Bomb"
    assert train("fit", "--config", DIGITS, *QUICK, "--run_name", "bad", bomb).code == 1
    result = train("test", "--config", DIGITS)
    assert result.code == 0
    assert "passed over logs/digits/bad: it has no checkpoints/best.ckpt" in result.out
    assert "test: logs/digits/good/checkpoints/best.ckpt" in result.out


def test_a_checkpoint_that_does_not_fit_is_one_message(train: Train) -> None:
    assert train("fit", "--config", DIGITS, *QUICK, "--run_name", "a").code == 0
    result = train("test", "--config", DIGITS, "--model.net.layers", "[4]")
    assert result.code == 2
    assert "size mismatch for net" in result.err or "Missing key(s) in state_dict" in result.err
    assert "Traceback" not in result.err
    assert len(result.err.splitlines()) <= 15


def test_a_run_name_is_taken_once(train: Train, tmp_path: Path) -> None:
    assert train("fit", "--config", DIGITS, *QUICK, "--run_name", "a").code == 0
    before = (tmp_path / "logs/digits/a/run.json").read_bytes()
    result = train("fit", "--config", DIGITS, *QUICK, "--run_name", "a")
    assert result.code == 2
    assert "run 'a' exists: logs/digits/a; choose another --run_name" in result.err
    assert (tmp_path / "logs/digits/a/run.json").read_bytes() == before


def test_runs_begun_in_one_second_get_names_of_their_own(train: Train, tmp_path: Path) -> None:
    for _ in range(2):
        assert train("fit", "--config", DIGITS, "--trainer.fast_dev_run", "true").code == 0
    assert len(list((tmp_path / "logs/digits").iterdir())) == 2


def test_a_failure_in_training_is_recorded(train: Train, tmp_path: Path) -> None:
    broken = ("--model.net", "trainworks.tests.test_unprepared_data.Breaking", "--model.net.in_features", "64")
    result = train("--config", DIGITS, *QUICK, "--run_name", "a", *broken, "--model.net.out_features", "11")
    assert result.code == 1
    assert "Traceback" in result.err
    record = read_run(tmp_path / "logs/digits/a")
    assert record["exit_status"] == 1
    assert "a mistake" in record["error"]
    assert "Traceback" in (tmp_path / "logs/digits/a/train.log").read_text()


@pytest.mark.two_processes
@pytest.mark.parametrize(("words", "code"), [((), 0), (("--callbacks.broken", "polite.Broken"), 1)])
def test_the_process_ends_only_when_all_others_have_said_goodbye(
    tmp_path: Path, words: tuple[str, ...], code: int
) -> None:
    """It ends without taking the interpreter apart, which would call `__del__` of what is still there."""
    farewell = "class Late:\n    def __del__(self): print('taken apart', flush=True)\n\nlate = Late()\n"
    handler = "import atexit\natexit.register(print, 'goodbye')\n"
    broken = "class Broken(Polite):\n    def on_train_batch_end(self, *_): raise RuntimeError('broken')\n\n"
    polite = f"{handler}from lightning.pytorch import Callback as Polite\n{broken}{farewell}"
    (tmp_path / "polite.py").write_text(polite)
    command = [sys.executable, str(ROOT / "train.py"), "fit", "--config", DIGITS, *QUICK, *words]
    command += ["--callbacks.polite", "polite.Polite"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == code, done.stderr
    assert done.stdout.splitlines()[-1] == "goodbye"
    assert ("Traceback" in done.stderr) == (code == 1)


def test_garbage_is_collected_again_once_training_begins(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bool, bool]] = []
    note = lambda *_, **__: seen.append((gc.isenabled(), gc.get_freeze_count() > 0))  # noqa: E731
    monkeypatch.setattr(Trainer, "fit", note)
    assert train("fit", "--config", DIGITS).code == 0
    assert seen == [(True, True)]
    assert gc.isenabled() and gc.get_freeze_count() == 0


def test_named_callbacks_add_up_and_can_be_switched_off(train: Train, tmp_path: Path) -> None:
    timer = {"class_path": "lightning.pytorch.callbacks.Timer", "init_args": {"interval": "epoch"}}
    stop = {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "val/loss"}}
    (tmp_path / "one.yaml").write_text(yaml.safe_dump({"callbacks": {"stop": stop}, "trainer": {"callbacks": [timer]}}))
    (tmp_path / "two.yaml").write_text(
        yaml.safe_dump({"trainer": {"callbacks+": [timer | {"class_path": "LambdaCallback", "init_args": {}}]}})
    )
    words = ("fit", "--config", DIGITS, "--config", "one.yaml", "--config", "two.yaml", *QUICK)
    printed = yaml.safe_load(train(*words, "--print_config").out)
    assert set(printed["callbacks"]) == {*defaults()["callbacks"], "channels_last", "stop"}
    assert [item["class_path"].split(".")[-1] for item in printed["trainer"]["callbacks"]] == [
        "Timer",
        "LambdaCallback",
    ]
    off = ("--callbacks.last", "null", "--trainer.logger", "false", "--callbacks.progress", "null")
    result = train(*words, *off, "--run_name", "a")
    assert result.code == 0, result.err
    assert [path.name for path in (tmp_path / "logs/digits/a/checkpoints").iterdir()] == ["best.ckpt"]
    assert not [line for line in result.out.splitlines() if line.startswith("epoch")]
    assert not list((tmp_path / "logs/digits/a").glob("events*"))


def test_a_config_of_the_same_name_elsewhere_is_told(train: Train, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    shutil.copy(DIGITS, "other/digits.yaml")
    assert train("fit", "--config", "other/digits.yaml", *QUICK, "--run_name", "a").code == 0
    told = "logs/digits/a began with --config other/digits.yaml, not with "
    assert told in train("test", "--config", DIGITS).out
    assert "began with" not in train("test", "--config", "other/digits.yaml").out


def test_a_run_that_was_moved_is_tested_without_a_word(train: Train, tmp_path: Path) -> None:
    assert train("fit", "--config", DIGITS, *QUICK, "--run_name", "a").code == 0
    shutil.move("logs", "cluster")
    result = train("test", "--ckpt_path", "cluster/digits/a/checkpoints/best.ckpt")
    assert (result.code, result.err) == (0, "")
    assert "dirpath" not in result.out and "test/loss" in result.out


def test_another_checkpoint_leaves_the_best_what_it_is(train: Train, tmp_path: Path) -> None:
    own = ["--trainer.callbacks+", "lightning.pytorch.callbacks.ModelCheckpoint"]
    own += ["--trainer.callbacks.save_top_k", "-1", "--trainer.callbacks.every_n_train_steps", "1"]
    result = train("fit", "--config", DIGITS, *QUICK, *own, "--run_name", "a")
    assert result.code == 0, result.err
    assert [line.endswith("  best") for line in result.out.splitlines() if line.startswith("epoch 1/1")] == [True]
    assert json.loads((tmp_path / "logs/digits/a/run.json").read_text())["best"].keys() == {"val/loss"}


def test_the_best_checkpoint_is_tested_and_ties_go_to_the_earlier(train: Train, tmp_path: Path) -> None:
    words = ("--callbacks.best.monitor", "val/accuracy", "--callbacks.best.mode", "max", "--trainer.max_epochs", "4")
    zero = ("--model.optimizer.lr", "1e-12", "--model.scheduler.max_lr", "1e-12")  # every epoch scores alike
    result = train("--config", DIGITS, *QUICK[2:], *words, *zero, "--model.net.layers", "[2]", "--run_name", "a")
    assert result.code == 0, result.err
    best, last = (
        torch.load(tmp_path / f"logs/digits/a/checkpoints/{n}.ckpt", weights_only=True) for n in ("best", "last")
    )
    assert last["epoch"] == 4
    scores = [line.split("val/accuracy ")[1].split()[0] for line in result.out.splitlines() if line.startswith("epoch")]
    assert best["epoch"] == scores.index(max(scores))


def test_figures_stand_with_their_checkpoint(train: Train, tmp_path: Path) -> None:
    words = (
        "--trainer.max_epochs",
        "3",
        "--callbacks.best.mode",
        "max",
        "--run_name",
        "a",
    )  # the worst loss is the best
    result = train("fit", "--config", DIGITS, *PLAIN, *words)
    assert result.code == 0, result.err
    epochs = [line.split() for line in result.out.splitlines() if line.startswith("epoch ")]
    values = [dict(zip(line[2::2], line[3::2], strict=False)) for line in epochs]
    (best,) = [value for value, line in zip(values, epochs, strict=True) if line[-1] == "best"]
    assert best is not values[-1]
    record = read_run(tmp_path / "logs/digits/a")
    for name in ("val/loss", "val/accuracy"):
        shown = result.out.rpartition("epoch 3/3")[2].partition("\n")[2]
        assert re.search(rf"{name} +{best[name]}\n", shown), shown
        assert f"{record['best_metrics'][name]:.4f}" == best[name]
        for file, value in (("best", best), ("last", values[-1])):
            content = torch.load(tmp_path / f"logs/digits/a/checkpoints/{file}.ckpt", weights_only=True)
            assert f"{content['metrics'][name]:.4f}" == value[name]


def test_help_explains_options_from_the_docstrings(train: Train) -> None:
    result = train("--config", DIGITS, "--help")
    assert result.code == 0
    assert "usage: python train.py [COMMAND] --config FILE" in result.out
    assert len(result.out.splitlines()) <= 200
    order = ("--model.net ", "--data.batch_size", "--trainer.max_epochs", "--resume")
    places = [result.out.index(text) for text in order]
    assert places == sorted(places)  # one's own first
    assert "Samples in one step, over all devices together." in " ".join(result.out.split())
    assert "Whether weight decay also acts on norm layers and biases." in " ".join(result.out.split())
    assert "(type: int | null, here: 10)" in result.out  # what the file states of data.num_classes
    other = train("--model.help", "trainworks.tests.examples.classifier.ClassifierModule")
    assert (other.code, "--model.optimizer  " in other.out) == (0, True)
    trainer = train("--trainer.help")
    assert (trainer.code, "--trainer.num_nodes" in trainer.out) == (0, True)
    optimizer = train("--model.optimizer.help", "torch.optim.SGD")
    assert (optimizer.code, "--model.optimizer.momentum" in optimizer.out) == (0, True)
    assert "--model.optimizer.params" not in optimizer.out  # which only the module has
    unknown = train("--model.optimizer.help", "torch.optim.SDG")
    assert (unknown.code, "there is no torch.optim.SDG" in unknown.err) == (2, True)
    value = train("--model.optimizer.help", "torch.float32")
    assert (value.code, "torch.float32 is no class; write --model.optimizer.help CLASS_PATH" in value.err) == (2, True)


@pytest.mark.parametrize("name", command_names())
def test_each_command_tells_its_options(name: str, train: Train) -> None:
    result = train(name, "--help")
    command = find_command(name)
    assert (result.code, command.summary in result.out) == (0, True)
    assert [option.name for option in command.options if f"--{option.name} " not in result.out] == []
    assert result.out.count("(required)") == sum(option.required for option in command.options)


@pytest.mark.long
def test_a_time_limit_stops_early_and_still_tests(train: Train, tmp_path: Path) -> None:
    words = ("--trainer.max_time", "00:00:00:02", "--trainer.max_epochs", "-1", "--run_name", "a")
    result = train("--config", DIGITS, *words, "--model.scheduler", "null")
    assert result.code == 0, result.err
    assert 0 < read_run(tmp_path / "logs/digits/a")["metrics"]["test/accuracy"] <= 1
    assert best_weights(tmp_path / "logs/digits/a")
