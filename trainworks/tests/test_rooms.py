"""The order of the rooms of src/, and what a run loads of them."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.make_rooms import PICTURE, draw
from trainworks.cli.closure import imports_of
from trainworks.tests.conftest import DIGITS, ROOT

# a room imports itself and rooms of lower floors; models and datamodules share one and know nothing of each other
FLOORS = {
    "errors": 0, "runs": 1, "runtime": 2, "optim": 3, "models": 4, "datamodules": 4, "callbacks": 5, "cli": 6,
}  # fmt: skip
SRC = ROOT / "src"


def breaks(file: Path) -> list[str]:
    """Return what a file imports of its own floor or of a higher one."""
    room = file.relative_to(SRC).parts[0].removesuffix(".py")
    rooms = {module: module.split(".")[1] for module in imports_of(file)}
    floors = FLOORS[room]
    bad = [module for module, other in rooms.items() if other != room and FLOORS[other] >= floors]
    return [f"{file.relative_to(ROOT)} imports {module}" for module in bad]


@pytest.mark.parametrize("room", FLOORS)
def test_rooms_import_lower_rooms_only(room: str) -> None:
    files = sorted((SRC / room).rglob("*.py")) or [SRC / f"{room}.py"]
    assert [line for file in files for line in breaks(file)] == []


def test_a_higher_import_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "SRC", tmp_path / "src")
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "src" / "runs").mkdir(parents=True)
    file = tmp_path / "src" / "runs" / "run.py"
    file.write_text("import trainworks.runs.files\ndef f():\n    from trainworks.runtime.launch import layout\n")
    assert breaks(file) == ["trainworks/runs/run.py imports trainworks.runtime.launch.layout"]


def test_there_are_no_other_rooms() -> None:
    found = {file.relative_to(SRC).parts[0].removesuffix(".py") for file in SRC.rglob("*.py")}
    assert found - {"__init__"} == set(FLOORS)


def test_networks_and_datasets_know_nothing_of_lightning() -> None:
    files = [*(SRC / "datamodules/datasets").rglob("*.py"), *(SRC / "models/networks").rglob("*.py")]
    assert len(files) > 15
    assert [file.name for file in files if "lightning" in file.read_text()] == []


def test_a_callbacks_room_holds_callbacks() -> None:
    from lightning.pytorch import Callback

    import src.callbacks

    assert all(issubclass(getattr(src.callbacks, name), Callback) for name in src.callbacks.__all__)
    modules = {getattr(src.callbacks, name).__module__ for name in src.callbacks.__all__}
    assert modules == {f"src.callbacks.{file.stem}" for file in (SRC / "callbacks").glob("[!_]*.py")}


def test_no_file_is_long() -> None:
    lines = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in SRC.rglob("*.py")}
    assert {name: number for name, number in lines.items() if number > 250} == {}
    assert len((ROOT / "train.py").read_text().splitlines()) < 60


def private_names() -> set[str]:
    """Return the names with an underscore that src/ touches and does not define itself."""
    used, own = set[str](), {"_exit"}  # Python's own way to end a process
    for file in SRC.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                own.add(node.name)
            elif isinstance(node, ast.ImportFrom):
                used |= {alias.name for alias in node.names}
            elif isinstance(node, ast.Attribute):
                stored = (
                    isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name) and node.value.id == "self"
                )
                (own if stored else used).add(node.attr)
    return {name for name in used - own if name.startswith("_") and not name.startswith("__")}


def test_every_private_name_of_a_library_is_listed_with_its_test() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    rows = [line.split("|")[1:4] for line in text.splitlines() if line.startswith("| `_")]
    listed = {name for names, _, _ in rows for name in re.findall(r"`(_\w+)`", names)}
    assert private_names() - listed == set()
    code = "".join(file.read_text() for file in SRC.rglob("*.py"))
    assert [name for name in listed if name not in code] == []
    tests = [test for _, _, cell in rows for test in re.findall(r"`(\S+)`", cell)]
    assert len(tests) == len(rows)
    assert [test for test in tests if not (ROOT / test).is_file()] == []


def test_the_picture_shows_the_imports_of_today() -> None:
    assert draw() == PICTURE.read_text(), "run python -m docs.make_rooms"


LOADED = """
import atexit, json, sys
from pathlib import Path
sys.argv = ["train.py", *sys.argv[1:]]
from trainworks.cli.main import main
code = main(sys.argv[1:])
modules = {name: item.__file__ for name, item in sys.modules.items() if name.split(".")[0] == "src" and item.__file__}
Path("loaded.json").write_text(json.dumps(modules))
sys.exit(code)
"""


def test_a_run_loads_what_it_uses(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LOADED, "--config", DIGITS, "--trainer.max_epochs", "1"]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    modules = json.loads((tmp_path / "loaded.json").read_text())
    unused = ("detector", "vae", "gpt", "language_model", "gan", "digit_scenes", "fsdp", "merge", "segmenter", "repeat")
    assert [name for name in modules if name.rpartition(".")[2] in unused] == []
    assert sum(len(Path(file).read_text().splitlines()) for file in modules.values()) <= 5738
