"""Which run and which checkpoint a training continues from."""

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import IterableDataset

from trainworks.datamodules import BaseDataModule
from trainworks.errors import UsageError
from trainworks.runs.continuing.checkpoint import find_start, read_start
from trainworks.runs.continuing.settings import check_settings
from trainworks.runs.continuing.state import Start
from trainworks.runs.event_files import first_repeated_step
from trainworks.runs.yaml_files import load_file
from trainworks.runtime.launch import is_restart, job_name, layout
from trainworks.tests.conftest import CONFIGS, DIGITS, PLAIN, ROOT, Train, same_weights

LIMITS = ("--trainer.max_epochs", "2", "--trainer.limit_train_batches", "4", "--trainer.limit_val_batches", "2")
SHORT = (*LIMITS, *PLAIN)
STEPS = ("--callbacks.last.every_n_steps", "1", "--callbacks.bomb=trainworks.tests.bomb.Bomb")
COMMAND = ("--config", DIGITS, *SHORT, *STEPS, "--run_name", "a")


@pytest.fixture
def cut(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that failed in its sixth step."""
    monkeypatch.setenv("BOMB", "batch:5")
    assert train(*COMMAND).code == 1
    monkeypatch.delenv("BOMB")
    return tmp_path / "logs/digits/a"


def test_auto_begins_goes_on_and_then_has_nothing_to_do(train: Train, cut: Path) -> None:
    result = train(*COMMAND, "--resume", "auto")
    assert result.code == 0, result.err
    assert "continues from logs/digits/a/checkpoints/last.ckpt, step 4" in result.out
    record = json.loads((cut / "run.json").read_text())
    assert (record["exit_status"], record["error"], len(record["resumed"])) == (0, None, 1)
    assert record["resumed"][0]["checkpoint"].endswith("last.ckpt")
    before = {path: path.stat().st_mtime_ns for path in cut.rglob("*")}
    again = train(*COMMAND, "--resume", "auto")
    assert (again.code, again.out) == (0, "logs/digits/a is finished; nothing is left to do\n")
    loaded = train(*COMMAND, "--resume", "auto", "--data.num_workers", "1", "--model.optimizer.lr", "5e-3")
    assert (loaded.code, loaded.out) == (0, "logs/digits/a is finished; nothing is left to do\n")  # as it was trained
    other = train("--config", DIGITS, "--run_name", "a", "--resume", "auto", "--model.optimizer.lr", "0.5")
    assert other.code == 2 and "model.init_args.optimizer.init_args.lr: 0.005 -> 0.5" in other.err
    assert {path: path.stat().st_mtime_ns for path in cut.rglob("*")} == before
    other = train("--config", DIGITS, *SHORT, "--run_name", "b", "--resume", "auto")
    assert other.code == 0
    assert "continues" not in other.out


def test_without_resume_a_run_is_never_touched(train: Train, cut: Path) -> None:
    before = (cut / "checkpoints/last.ckpt").read_bytes()
    result = train(*COMMAND)
    assert result.code == 2
    assert "run 'a' exists: logs/digits/a; choose another --run_name, or continue it with --resume auto" in result.err
    assert (cut / "checkpoints/last.ckpt").read_bytes() == before


def test_a_directory_needs_no_config(train: Train, cut: Path) -> None:
    result = train("--resume", "logs/digits/a")
    assert result.code == 0, result.err
    assert "continues from" in result.out
    assert "test/accuracy" in result.out


def test_a_checkpoint_can_be_named(train: Train, cut: Path) -> None:
    result = train("--resume", "logs/digits/a/checkpoints/last-1.ckpt")
    assert result.code == 0, result.err
    assert "continues from logs/digits/a/checkpoints/last-1.ckpt, step 3" in result.out


def test_the_newest_unfinished_run_is_found_without_a_name(train: Train, cut: Path) -> None:
    result = train(*COMMAND[:-2], "--resume", "auto")
    assert "logs/digits/a: " in result.out
    assert "continues from" in result.out
    assert "continues" not in train(*COMMAND[:-2], "--resume", "auto").out  # now a new one begins


def test_a_test_that_was_stopped_is_made_up_for(train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BOMB", "test_start:2")
    assert train(*COMMAND).code == 1
    monkeypatch.delenv("BOMB")
    result = train(*COMMAND, "--resume", "auto")
    assert result.code == 0
    assert not [line for line in result.out.splitlines() if line.startswith("epoch")]
    metrics = json.loads((tmp_path / "logs/digits/a/run.json").read_text())["metrics"]
    assert set(metrics) == {f"{stage}/{name}" for stage in ("train", "val", "test") for name in ("loss", "accuracy")}


def test_other_settings_are_refused_with_a_list(train: Train, cut: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in cut.rglob("*")}
    words = ("--model.optimizer.lr", "0.1", "--data.batch_size", "32", "--seed_everything", "3")
    result = train(*COMMAND, "--resume", "auto", *words)
    assert result.code == 2
    assert "cannot continue with other settings" in result.err
    for change in (
        "seed_everything: 0 -> 3",
        "data.init_args.batch_size: 64 -> 32",
        "optimizer.init_args.lr: 0.005 -> 0.1",
    ):
        assert change in result.err
    assert {path: path.stat().st_mtime_ns for path in cut.rglob("*")} == before


def test_workers_and_logging_go_through(train: Train, cut: Path) -> None:
    words = ("--data.num_workers", "1", "--trainer.log_every_n_steps", "3", "--trainer.logger", "false")
    result = train(*COMMAND, "--resume", "auto", *words, "--callbacks.last.num_older", "3")
    assert result.code == 0, result.err
    assert len(list((cut / "checkpoints").glob("last*.ckpt"))) == 4


@pytest.mark.long
def test_more_epochs_only_where_the_course_of_the_rate_allows(train: Train, tmp_path: Path) -> None:
    more = ("--resume", "auto", "--trainer.max_epochs", "4")
    assert train(*COMMAND).code == 0
    result = train(*COMMAND, *more)
    assert result.code == 2
    assert "trainer.max_epochs: 2 -> 4 (the learning-rate schedule spans all epochs)" in result.err
    constant = (*COMMAND[:-1], "b", "--model.scheduler", "null")
    assert train(*constant).code == 0
    result = train(*constant, *more)
    assert result.code == 0, result.err
    assert "trainer.max_epochs: 2 -> 4 (a longer training)" in result.out
    assert train(*constant[:-3], "whole", "--model.scheduler", "null", "--trainer.max_epochs", "4").code == 0
    one, other = (
        torch.load(tmp_path / f"logs/digits/{n}/checkpoints/last.ckpt", weights_only=True) for n in ("b", "whole")
    )
    assert all(torch.equal(value, other["state_dict"][key]) for key, value in one["state_dict"].items())


@pytest.mark.parametrize("damage", ["cut", "empty", "foreign", "flipped"])
def test_a_damaged_checkpoint_is_passed_over_and_named(train: Train, cut: Path, damage: str) -> None:
    last = cut / "checkpoints/last.ckpt"
    data = bytearray(last.read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 1
    content = {"cut": data[:-500], "empty": b"", "foreign": b"text", "flipped": data}[damage]
    last.write_bytes(content)
    result = train(*COMMAND, "--resume", "auto")
    assert result.code == 0, result.err
    assert "passed over: " in result.out and "checkpoints/last.ckpt: " in result.out
    assert "continues from logs/digits/a/checkpoints/last-1.ckpt, step 3" in result.out


def test_the_best_checkpoint_is_the_last_resort(train: Train, cut: Path) -> None:
    for path in (cut / "checkpoints").glob("last*.ckpt"):
        path.write_bytes(b"")
    result = train(*COMMAND, "--resume", "auto")
    assert result.code == 0, result.err
    assert result.out.count("passed over: ") == 2
    assert "continues from logs/digits/a/checkpoints/best.ckpt, step 4" in result.out
    assert "the result will not be bit by bit the same" in result.out


def test_no_whole_checkpoint_is_an_error_not_a_new_start(train: Train, cut: Path) -> None:
    for path in (cut / "checkpoints").glob("*.ckpt"):
        path.write_bytes(b"")
    result = train(*COMMAND, "--resume", "auto")
    assert result.code == 2
    assert "has no whole checkpoint left; start a new run under another --run_name" in result.err


def test_a_file_system_without_links(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("not supported")))
    assert train(*COMMAND).code == 0
    folder = tmp_path / "logs/digits/a/checkpoints"
    (folder / "last-mine.ckpt").write_bytes(b"somebody's own file")
    assert (find_start(folder).step, read_start(folder / "last-1.ckpt").step) == (8, 7)


def test_a_moved_run_goes_on(train: Train, cut: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    shutil.move(cut, tmp_path / "elsewhere/b")
    result = train("--resume", "elsewhere/b")
    assert result.code == 0, result.err
    assert "best checkpoint  elsewhere/b/checkpoints/best.ckpt" in result.out


def test_leftovers_of_a_killed_process_are_removed(train: Train, cut: Path) -> None:
    (cut / "checkpoints/last.ckpt.tmp").write_bytes(b"half")
    assert train(*COMMAND, "--resume", "auto").code == 0
    assert not list((cut / "checkpoints").glob("*.tmp"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--resume", "nowhere"], "--resume nowhere: no run there; write its directory, or one of its checkpoints"),
        (["--resume", "auto"], "no --config given"),
        (["test", "--resume", "auto", "--config", DIGITS], "test takes no --resume; it belongs to fit, replay"),
        (["replay", "--resume", "nowhere", "--batch", "3"], "--resume nowhere: no run there"),
        (["replay", "--batch", "3"], "replay needs --resume RUN, the directory of a run"),
        (["--config", DIGITS, "--batch", "3"], "a training takes no --batch; it belongs to replay"),
    ],
)
def test_mistakes(train: Train, words: list[str], message: str) -> None:
    result = train(*words)
    assert result.code == 2
    assert message in result.err


def test_damage_in_two_hundred_ways(cut: Path, tmp_path: Path) -> None:
    """What is read after all is read right; everything else is refused with the file's name."""
    source = cut / "checkpoints/last.ckpt"
    data, path = source.read_bytes(), tmp_path / "x.ckpt"
    expected = torch.load(source, weights_only=True)["state_dict"]
    generator, refused = random.Random(0), 0
    for number in range(200):
        damaged = bytearray(data)
        if number % 4 == 0:
            damaged = damaged[: generator.randrange(len(data))]
        elif number % 4 == 1:
            damaged[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        elif number % 4 == 2:
            place = generator.randrange(len(data) - 64)
            damaged[place : place + 64] = bytes(64)
        else:
            place = generator.choice([0, len(data) - 600]) + generator.randrange(600)
            damaged[place] ^= 255
        path.write_bytes(damaged)
        try:
            read_start(path)
        except UsageError as error:
            assert str(path) in str(error)
            refused += 1
        else:
            loaded = torch.load(path, weights_only=True)["state_dict"]
            assert all(torch.equal(loaded[key], value) for key, value in expected.items())
    assert refused > 150


def test_no_checkpoint_yet(tmp_path: Path) -> None:
    assert find_start(tmp_path).path is None


def test_a_checkpoint_of_weights_alone_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "x.ckpt")
    with pytest.raises(UsageError, match=r"x.ckpt: not a checkpoint of a training"):
        read_start(tmp_path / "x.ckpt")


class Padding(nn.Module):
    """A transform with arguments whose values are hard to compare."""

    def __init__(
        self,
        value: float = float("nan"),
        pair: tuple[float, float] = (float("inf"), -0.0),
        names: set[str] = {"alpha", "beta", "gamma", "delta", "1e3"},  # noqa: B006
        items: list[float | None] = [None, float("nan"), 1000.0],  # noqa: B006
    ) -> None:
        super().__init__()
        assert isinstance(names, set) and isinstance(pair, tuple)

    def forward(self, images: Any, targets: Any) -> Any:
        return images.float(), targets


def test_another_list_of_classes_is_another_setting(train: Train) -> None:
    words = (*COMMAND, "--resume", "auto", "--data.train_transform")
    kept, other = (
        f"[{{class_path: torchvision.transforms.v2.ToDtype, init_args: {{dtype: torch.float32, scale: {scale}}}}}]"
        for scale in ("true", "false")
    )
    assert train(*words, kept).code == 0
    assert train(*words, kept).out == "logs/digits/a is finished; nothing is left to do\n"
    for changed in (other, "[]"):
        result = train(*words, changed)
        assert result.code == 2 and "the run cannot continue with other settings" in result.err, result.out


def test_values_that_equal_nothing_and_sets_go_on(train_process: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """In processes with other hashes, which order the texts of a set."""
    words = (*COMMAND, "--data.train_transform", "[trainworks.tests.runs.test_resume.Padding]")
    words += ("--data.class_names", r"['\${x}', '1e3', '2', '3', '4', '5', '6', '7', '8', 'nan']")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for seed, bomb in ("1", "batch:5"), ("2", "batch:6"), ("3", ""):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        monkeypatch.setenv("BOMB", bomb)
        result = train_process(*words, "--resume", "auto")
        assert result.code == bool(bomb) and "other settings" not in result.err, result.err
    assert "continues from logs/digits/a/checkpoints/last.ckpt, step 5" in result.out
    again = train_process(*words, "--data.train_transform.value", "nan", "--resume", "auto")
    assert again.out == "logs/digits/a is finished; nothing is left to do\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data.sampling", "weighted"), "the data has no weights"),
        (("--model.net.num_classes", "7"), "CrossEntropyLoss cannot take"),
        (("--model.net.num_classes", "7", "--trainer.num_sanity_val_steps", "0"), "CrossEntropyLoss cannot take"),
        (("--callbacks.best.monitor", "val/accurracy"), "did you mean val/accuracy?"),
    ],
)
def test_a_mistake_before_the_first_step_leaves_no_run(
    train: Train, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    result = train(*COMMAND, *words)
    assert result.code == 2 and message in result.err, result.err
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize("devices", ["1", pytest.param("2", marks=pytest.mark.two_processes)])
@pytest.mark.parametrize("hook", ["kill:0", "kill:3"])
def test_a_run_killed_before_it_kept_anything_begins_anew(
    train_process: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: str, devices: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    words = ("--config", DIGITS, *SHORT, "--callbacks.bomb=trainworks.tests.bomb.Bomb", "--run_name", "a")
    words += ("--trainer.accelerator", "cpu", "--trainer.devices", devices, "--trainer.max_epochs", "1")
    monkeypatch.setenv("BOMB", hook)
    assert train_process("fit", *words).code == -9
    run = tmp_path / "logs/digits/a"
    log = (run / "train.log").read_text()
    monkeypatch.delenv("BOMB")
    other = ("--data.batch_size", "32")
    if hook == "kill:3":  # there may be something to look at
        result = train_process("fit", *words, *other)
        assert result.code == 2 and "run 'a' exists" in result.err
        other = (*other, "--resume", "auto")
    result = train_process("fit", *words, *other)
    assert result.code == 0, result.err
    assert load_file(str(run / "config.yaml"))["data"]["init_args"]["batch_size"] == 32
    record = json.loads((run / "run.json").read_text())
    assert "batch_size 32" in record["command"] and "resumed" not in record
    assert (run / "train.log").read_text().startswith(log)
    assert len(list(run.glob("events*"))) == (3 if hook == "kill:3" else 2)
    result = train_process("fit", *words, "--data.batch_size", "16", "--resume", "auto")
    assert result.code == 2 and "data.init_args.batch_size: 32 -> 16" in result.err


def test_what_is_no_run_is_not_begun_anew(train: Train, tmp_path: Path) -> None:
    (tmp_path / "logs/digits/a").mkdir(parents=True)
    assert train(*COMMAND).code == 0  # nothing stands there
    for name in ("study.log", "checkpoints/last.ckpt.tmp"):
        folder = tmp_path / "logs/digits" / name[0]
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("mine")
        result = train(*COMMAND, "--run_name", name[0])
        assert result.code == 2 and f"run '{name[0]}' exists" in result.err
        assert (folder / name).read_text() == "mine"


def test_a_finished_run_without_checkpoints_is_kept(train: Train) -> None:
    words = ("--config", DIGITS, *SHORT, "--callbacks.last", "null", "--callbacks.best", "null", "--run_name", "a")
    words += ("--model.scheduler", "null")
    assert train(*words).code == 0
    for more, message in (
        (("--trainer.max_epochs", "3"), "is finished and kept no checkpoint to go on from; write a new --run_name"),
        (("--data.batch_size", "32"), "data.init_args.batch_size: 64 -> 32"),
    ):
        result = train(*words, "--resume", "auto", *more)
        assert result.code == 2 and message in result.err


@pytest.mark.parametrize(("key", "short", "long"), [("max_epochs", "1", "3"), ("max_steps", "5", "9")])
def test_a_longer_training_goes_on_from_its_directory(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, short: str, long: str
) -> None:
    """Although it is stopped before it saved anything of the rest, of which the first checkpoint knows nothing."""
    words = ("fit", "--config", DIGITS, *SHORT, STEPS[-1], "--run_name", "a", "--model.scheduler", "null")
    words += ("--trainer.max_epochs", "3", "--callbacks.last.every_n_epochs", "0")
    assert train(*words, f"--trainer.{key}", short).code == 0
    done = torch.load(tmp_path / "logs/digits/a/checkpoints/last.ckpt", weights_only=True)["global_step"]
    more = (*words, f"--trainer.{key}", long, "--resume", "auto")
    monkeypatch.setenv("BOMB", f"batch:{done + 1}")
    result = train(*more)
    assert result.code == 1 and f"trainer.{key}: {short}" in result.out
    monkeypatch.delenv("BOMB")
    result = train("fit", "--resume", "logs/digits/a")
    assert result.code == 0, result.err
    last = torch.load(tmp_path / "logs/digits/a/checkpoints/last.ckpt", weights_only=True)
    assert last["global_step"] == {"3": 12, "9": 9}[long]
    again = train(*more)
    assert (again.code, again.out) == (0, "logs/digits/a is finished; nothing is left to do\n")


def test_more_time_is_a_longer_training(train: Train, tmp_path: Path) -> None:
    words = ("fit", "--config", DIGITS, *PLAIN, "--run_name", "a", "--model.scheduler", "null")
    words += ("--trainer.max_epochs", "5000", "--trainer.max_time")
    steps = []
    for time in ("00:00:00:01", "00:00:00:02"):
        result = train(*words, time, "--resume", "auto")
        assert result.code == 0, result.err
        steps.append(torch.load(tmp_path / "logs/digits/a/checkpoints/last.ckpt", weights_only=True)["global_step"])
        again = train(*words, time, "--resume", "auto")
        assert again.out == "logs/digits/a is finished; nothing is left to do\n"
    assert "trainer.max_time: 00:00:00:01 -> 00:00:00:02" in result.out
    assert steps[1] > steps[0] > 0


def change(path: str, value: Any) -> list[Any]:
    stored: Any = {
        "trainer": {"max_epochs": 3, "devices": 1, "logger": None, "precision": 32},
        "model": {"init_args": {"scheduler": {"init_args": {"gamma": 1}}}},
        "data": {
            "init_args": {
                "pad": float("nan"),
                "fills": [None, float("inf"), float("nan")],
                "share": 1,
                "root": "a",
                "num_workers": 0,
                "transforms": [{"class_path": "a"}, {"class_path": "b"}],
            }
        },
    }
    wanted = yaml.safe_load(yaml.safe_dump(stored))
    *parents, last = path.split(".")
    node: Any = wanted
    for name in parents:
        node = node[int(name) if isinstance(node, list) else name]
    node[last] = value
    return check_settings(stored, wanted)


@pytest.mark.parametrize(
    ("path", "value", "remark"),
    [
        ("trainer.logger", {"class_path": "x"}, None),
        ("data.init_args.num_workers", 4, None),
        ("trainer.devices", 2, "trainer.devices: 1 -> 2 (the result will not be bit by bit the same)"),
        ("data.init_args.root", "b", "data.init_args.root: a -> b (taken for the same data at another place)"),
        ("trainer.max_epochs", 5, "trainer.max_epochs: 3 -> 5 (a longer training)"),
        ("data.init_args.pad", float("nan"), None),
        ("data.init_args.fills", [None, float("inf"), float("nan")], None),
    ],
)
def test_changes_that_go_through(path: str, value: Any, remark: str | None) -> None:
    assert change(path, value) == ([remark] if remark else [])


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("trainer.max_epochs", 2),
        ("trainer.precision", "bf16-mixed"),
        ("model.init_args.scheduler.init_args.gamma", 2),
        ("data.init_args.transforms.1.class_path", "c"),
        ("data.init_args.new", 1),
        ("data.init_args.share", 1.0),  # of the batches: 1.0 is all
        ("data.init_args.share", True),
        ("data.init_args.pad", "nan"),
        ("data.init_args.fills", [None, float("inf"), 0.0]),
    ],
)
def test_changes_that_are_refused(path: str, value: Any) -> None:
    with pytest.raises(UsageError, match=path):
        change(path, value)


def test_jobs_have_names_that_a_restart_has_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "TORCHELASTIC_RUN_ID", "SLURM_JOB_NAME"):
        monkeypatch.delenv(name, raising=False)
    assert job_name() is None
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "my job/1")
    assert job_name() == "torchrun-my_job_1"
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    assert job_name() == "slurm-77"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "70")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert job_name() == "slurm-70_3"
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")
    assert job_name() == "torchrun-my_job_1"
    assert not is_restart()
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert is_restart()


def test_the_launcher_says_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("LOCAL_WORLD_SIZE", "WORLD_SIZE", "SLURM_STEP_NUM_NODES", "SLURM_JOB_NAME")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    assert layout() == {}
    monkeypatch.setenv("SLURM_STEP_NUM_NODES", "3")
    assert layout() == {"num_nodes": 3}
    monkeypatch.setenv("SLURM_JOB_NAME", "bash")
    assert layout() == {}
    monkeypatch.setenv("WORLD_SIZE", "16")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert layout() == {"devices": 8, "num_nodes": 2}


def test_an_elastic_job_goes_on_and_a_new_one_under_its_id_begins(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torchrun counts the restarts of each node alone, so an unfinished run is enough to go on."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "j1")
    for name in ("torchrun-j1", "torchrun-j1-2"):
        monkeypatch.setenv("BOMB", "batch:5")
        assert train(*COMMAND[:-2]).code == 1
        monkeypatch.delenv("BOMB")
        result = train(*COMMAND[:-2])
        assert result.code == 0, result.err
        assert f"continues from logs/digits/{name}/checkpoints/last.ckpt" in result.out


def test_a_restarted_job_finds_its_run(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "j1")
    monkeypatch.setenv("BOMB", "batch:5")
    assert train(*COMMAND[:-2]).code == 1
    monkeypatch.delenv("BOMB")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    result = train(*COMMAND[:-2])
    assert result.code == 0, result.err
    assert "continues from logs/digits/torchrun-j1/checkpoints/last.ckpt" in result.out


class StepImages(Callback):
    """Log an image at each of the module's own steps, which count all of its optimizers."""

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        trainer.logger.experiment.add_image("seen", torch.zeros(1, 2, 2), trainer.global_step)


def test_tensorboard_keeps_what_was_logged_before_the_checkpoint(train: Train, tmp_path: Path) -> None:
    """With two optimizers a module's step is ahead of the batches that TensorBoard's own scalars count."""
    gan = ("--config", str(CONFIGS / "gan.yaml"), "--run_name", "a", "--trainer.limit_train_batches", "5")
    images = ("--callbacks.images", f"{__name__}.StepImages", "--trainer.log_every_n_steps", "1")
    assert train(*gan, *images, "--trainer.max_epochs", "1").code == 0
    result = train(*gan, *images, "--trainer.max_epochs", "2", "--resume", "auto")
    assert (result.code, result.err) == (0, ""), result.err
    events = EventAccumulator(str(tmp_path / "logs/gan/a"), size_guidance={"images": 0, "scalars": 0}).Reload()
    assert [event.step for event in events.Images("seen")] == [2 * number for number in range(1, 11)]
    file = next((tmp_path / "logs/gan/a").glob("events.*"))
    file.write_bytes(file.read_bytes()[:-3])  # a record that was being written
    checkpoint = tmp_path / "logs/gan/a/checkpoints/last.ckpt"
    assert first_repeated_step(tmp_path / "logs/gan/a", Start(checkpoint, step=10)) == 21
    os.utime(checkpoint, (0, 0))  # nothing was written before it
    assert first_repeated_step(tmp_path / "logs/gan/a", Start(checkpoint, step=10)) == 10


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Any:
        generator = torch.Generator().manual_seed(0)
        return ((torch.rand(1, 8, 8, generator=generator), k % 10) for k in range(400))


class Stream(BaseDataModule):
    """Ours, but without an order that could be entered in the middle."""

    def load_splits(self) -> dict[str, Any]:
        return {"train": Endless(), "val": Endless()}


def test_data_that_cannot_be_entered_in_the_middle_is_read_past(
    train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = ["--config", DIGITS, *SHORT, *STEPS, "--data", "trainworks.tests.runs.test_resume.Stream"]
    words += ["--model.scheduler", "null", "--model.net.num_classes", "10", "--model.metrics", "null", "--run_name"]
    assert train(*words, "whole").code == 0
    monkeypatch.setenv("BOMB", "batch:2")
    assert "bomb" in train(*words, "a").err
    monkeypatch.delenv("BOMB")
    result = train(*words, "a", "--resume", "auto")
    assert result.code == 0, result.err
    assert "batches of this epoch to read past, to go on in the same order: 1" in result.out
    assert same_weights(tmp_path / "logs/digits/whole", tmp_path / "logs/digits/a")
