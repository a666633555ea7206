"""The border between the library and the project on it: neither reaches into the other."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainworks.cli.projects.closure import imported
from trainworks.lazy import public_names
from trainworks.root import OWN, ROOT

LIBRARY = ROOT / "trainworks"
TESTS = LIBRARY / "tests"
MAKES_PROJECTS = TESTS / "cli/projects"  # tests that write a project's own package
CLASS_PATH = re.compile(rf"\b{OWN}\.[a-z_]\w*")


def files_of(folder: Path, *endings: str) -> list[Path]:
    """Return the files below a folder that end so."""
    return [file for ending in endings for file in sorted(folder.rglob(f"*{ending}"))]


def texts_of(file: Path) -> Iterator[str]:
    """Yield the texts of a file, docstrings included: of Python its string constants, of anything else the whole."""
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".py":
        yield text
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def inner_names(file: Path) -> set[str]:
    """Return the attributes with an underscore that a file uses and does not define."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute) and re.match("_[^_]", node.attr)}
    stored = {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    return used - stored - {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def not_public(file: Path) -> list[str]:
    """Return what a file imports of the library that no package of it hands out."""
    bad = []
    for path in imported(file):
        package, _, name = path.rpartition(".")
        if path.partition(".")[0] == "trainworks":
            place = ROOT.joinpath(*package.split("."), "__init__.py")
            bad += [] if place.is_file() and name in public_names(str(place)) else [path]
    return bad


def test_the_library_imports_nothing_of_the_project() -> None:
    found = files_of(LIBRARY, ".py")
    assert len(found) > 150
    bad = []
    for file in found:
        others = (OWN, "tests", "configs") + (() if TESTS in file.parents else ("docs", "benchmarks"))
        bad += [f"{file.relative_to(ROOT)} imports {path}" for path in imported(file) if path.split(".")[0] in others]
    assert bad == []


def test_the_library_names_no_class_of_the_project() -> None:
    found = [file for file in files_of(LIBRARY, ".py", ".yaml", ".md") if MAKES_PROJECTS not in file.parents]
    named = {str(file.relative_to(ROOT)): CLASS_PATH.findall("\n".join(texts_of(file))) for file in found}
    assert {name: paths for name, paths in named.items() if paths} == {}


def test_the_project_imports_only_public_names() -> None:
    found = files_of(ROOT / OWN, ".py")
    assert [f"{file.relative_to(ROOT)} imports {path}" for file in found for path in not_public(file)] == []
    assert {str(file.relative_to(ROOT)): names for file in found if (names := inner_names(file))} == {}


def test_what_crosses_the_border_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "task.py"
    file.write_text(
        "from trainworks import BaseModule\n"
        "from trainworks.models.base import Stage\n"
        "class Task(BaseModule):\n"
        "    def __init__(self):\n"
        "        self._own = self._updates\n"
        f"        self.path = '{OWN}.models.task.Task'\n"
    )
    assert not_public(file) == ["trainworks.models.base.Stage"]
    assert inner_names(file) == {"_updates"}
    assert CLASS_PATH.findall("\n".join(texts_of(file))) == [f"{OWN}.models"]
