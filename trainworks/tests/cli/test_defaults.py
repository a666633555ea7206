"""The library's defaults, the project's own laid over them, and files in which a section is empty."""

import json
from pathlib import Path

import pytest
import yaml

from trainworks import __version__
from trainworks.cli import defaults as layers
from trainworks.runs.yaml_files import load_file
from trainworks.tests.conftest import DIGITS, ROOT, Train

LIBRARYS = ("best", "last", "finite", "progress", "metrics", "predictions")  # what a run needs, and what protects it
SHORT = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2")


def printed(train: Train, *words: str) -> dict[str, object]:
    result = train("--config", DIGITS, *words, "--print_config")
    assert result.code == 0, result.err
    return yaml.safe_load(result.out)


def callbacks(train: Train, *words: str) -> list[str]:
    found = printed(train, *words)["callbacks"]
    assert isinstance(found, dict)
    return [name for name, item in found.items() if item is not None]


@pytest.fixture
def defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the project be an empty folder, in which this file may be written."""
    monkeypatch.delenv("TRAIN_DEFAULTS")
    monkeypatch.setattr(layers, "ROOT", tmp_path)
    (tmp_path / "configs").mkdir()
    return tmp_path / "configs" / "defaults.yaml"


def test_the_library_protects_a_run_without_any_file(train: Train, defaults: Path) -> None:
    assert list(load_file(str(ROOT / "trainworks/defaults.yaml"))["callbacks"]) == list(LIBRARYS)
    assert callbacks(train) == [*LIBRARYS, "channels_last"]


@pytest.mark.parametrize("text", ["", "# seed_everything: 3\n", "callbacks:\n  # last: null\ntrainer:\n"])
def test_a_file_with_nothing_in_it_changes_nothing(train: Train, defaults: Path, text: str) -> None:
    defaults.write_text(text)
    assert callbacks(train) == [*LIBRARYS, "channels_last"]


def test_a_project_changes_its_defaults_in_one_file(train: Train, defaults: Path) -> None:
    average = "{class_path: trainworks.callbacks.WeightAverage, init_args: {decay: 0.9}}"
    text = "seed_everything: 3\ntrainer: {precision: 64-true, max_epochs: 1}\ncallbacks:\n  finite: null\n"
    defaults.write_text(f"{text}  average: {average}\n")
    config = printed(train)
    assert config["seed_everything"] == 3 and isinstance(trainer := config["trainer"], dict)
    assert (trainer["precision"], trainer["max_epochs"]) == ("64-true", 20)  # digits.yaml says how long
    assert callbacks(train) == ["best", "last", "progress", "metrics", "predictions", "average", "channels_last"]
    assert "average" not in callbacks(train, "--callbacks.average", "null")


@pytest.mark.parametrize("section", ["callbacks:\n", "trainer:\n", "callbacks:\n  # a: b\ntrainer:\n"])
def test_an_empty_section_of_any_config_changes_nothing(train: Train, tmp_path: Path, section: str) -> None:
    (tmp_path / "empty.yaml").write_text("seed_everything: 5\n" + section)
    before, after = printed(train), printed(train, "--config", "empty.yaml")
    assert after == before | {"seed_everything": 5}


def test_only_a_name_switches_off(train: Train, tmp_path: Path) -> None:
    (tmp_path / "off.yaml").write_text("callbacks:\n  last:\n")
    assert "last" not in callbacks(train, "--config", "off.yaml")


def test_a_broken_file_is_named(train: Train, defaults: Path) -> None:
    defaults.write_text("callbacks: [\n")
    result = train("--config", DIGITS)
    assert result.code == 2 and f"{defaults}, line 2: broken YAML" in result.err


def test_a_file_that_is_named_and_not_there_is_missed_only_as_the_projects(
    train: Train, defaults: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not defaults.exists() and printed(train)["seed_everything"] == 0
    monkeypatch.setenv("TRAIN_DEFAULTS", "cluster.yaml")
    result = train("--config", DIGITS)
    assert (result.code, result.err) == (2, "error: TRAIN_DEFAULTS cluster.yaml: no such file\n")


def test_what_is_no_mapping_is_said_of_the_defaults(train: Train, defaults: Path) -> None:
    defaults.write_text("- a\n")
    result = train("--config", DIGITS)
    assert (result.code, result.err) == (2, f"error: the defaults {defaults}: not a mapping of keys to values\n")


def test_a_runs_own_config_takes_no_defaults(train: Train, defaults: Path, tmp_path: Path) -> None:
    assert train("fit", "--config", DIGITS, *SHORT, "--run_name", "a").code == 0
    defaults.write_text("callbacks: {average: {class_path: trainworks.callbacks.WeightAverage}}\n")
    own = "logs/digits/a/config.yaml"
    result = train("--config", own, "--print_config")
    assert result.code == 0 and "average" not in yaml.safe_load(result.out)["callbacks"]
    result = train("validate", "--config", own, "--trainer.limit_val_batches", "1")
    assert result.code == 0, result.err


def test_the_message_names_the_defaults_that_keep_a_run_from_continuing(train: Train, defaults: Path) -> None:
    assert train("fit", "--config", DIGITS, *SHORT, "--run_name", "a").code == 0
    defaults.write_text("trainer: {gradient_clip_val: 0.5}\n")
    words = ("--config", DIGITS, *SHORT, "--run_name", "a", "--resume", "auto", "--trainer.max_epochs", "2")
    result = train("fit", *words)
    assert result.code == 2
    assert f"trainer.gradient_clip_val: None -> 0.5 (of {defaults})" in result.err
    again = ("--resume", "logs/digits/a", "--trainer.max_epochs", "2")  # which needs no defaults
    assert "gradient_clip_val" not in train("fit", *again).err


def test_another_version_of_the_library_is_told(train: Train, tmp_path: Path) -> None:
    assert train("fit", "--config", DIGITS, *SHORT, "--run_name", "a").code == 0
    file = tmp_path / "logs/digits/a/run.json"
    content = json.loads(file.read_text())
    assert content["versions"]["trainworks"] == __version__
    content["exit_status"], content["versions"]["trainworks"] = None, "0.1.9"
    file.write_text(json.dumps(content))
    result = train("fit", "--resume", "logs/digits/a")
    assert f"trainworks 0.1.9 began this run, {__version__} continues it: the result will not" in result.out
