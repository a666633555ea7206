"""What holds of the template as a whole: how large src/ is, what it knows of, and what a run of it loads."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

from lightning.pytorch import Callback

from docs.make_rooms import PICTURE, TEMPLATE, draw
from trainworks.root import OWN
from trainworks.testing import ROOT
from trainworks.tests.test_rooms import LOADED

SRC = ROOT / OWN


def num_lines(file: Path) -> int:
    return len(file.read_text(encoding="utf-8").splitlines())


def test_the_picture_shows_the_imports_of_today() -> None:
    assert draw() == PICTURE.read_text(), "run python -m docs.make_rooms"
    assert {f"{OWN}/{folder.name}" for folder in SRC.iterdir() if (folder / "__init__.py").exists()} == TEMPLATE.keys()


def test_the_template_is_small() -> None:
    lines = {file: num_lines(file) for file in SRC.rglob("*.py")}
    assert sum(lines.values()) <= 1900 and max(lines.values()) <= 250
    assert {file for file in lines if file.name == "__init__.py" and lines[file]} == set()


def test_networks_and_datasets_know_nothing_of_lightning() -> None:
    files = [*(SRC / "datamodules/datasets").rglob("*.py"), *(SRC / "models/networks").rglob("*.py")]
    assert len(files) > 10
    assert [file.name for file in files if "lightning" in file.read_text()] == []


def test_a_callbacks_room_holds_callbacks() -> None:
    for file in (SRC / "callbacks").glob("[!_]*.py"):
        module = import_module(f"{OWN}.callbacks.{file.stem}")
        items = [item for item in vars(module).values() if isinstance(item, type)]
        own = [item for item in items if item.__module__ == module.__name__ and not item.__name__.startswith("_")]
        assert own and all(issubclass(item, Callback) for item in own), file


def test_a_run_loads_what_it_uses(tmp_path: Path) -> None:
    loaded = LOADED.replace('== "trainworks"', f'in ("trainworks", "{OWN}")')
    config = ROOT / "configs/digits.yaml"
    command = [sys.executable, "-c", loaded, "--config", str(config), "--trainer.max_epochs", "1"]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    modules = json.loads((tmp_path / "loaded.json").read_text())
    unused = ("detector", "vae", "gpt", "language_model", "gan", "digit_scenes", "fsdp", "merge", "segmenter", "repeat")
    assert [name for name in modules if name.rpartition(".")[2] in unused] == []
    assert f"{OWN}.models.classifier" in modules
