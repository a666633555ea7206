"""new, add and update, on a small template that is written here."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from trainworks import __version__
from trainworks.cli.commands.update import changelog_between
from trainworks.cli.projects.closure import needed
from trainworks.cli.projects.library import checksums, recorded_checksums
from trainworks.cli.projects.project import Project
from trainworks.tests.conftest import ROOT

FILES = {
    "src/__init__.py": "",
    "src/models/__init__.py": "",
    "src/models/points.py": (
        '"""A task."""\n\nfrom src.models.parts.net import Net\nfrom trainworks import BaseModule\n\n\n'
        'class PointsModule(BaseModule):\n    """Sort."""\n\n    needs = Net\n\n    def step(self, batch): ...\n'
    ),
    "src/models/lines.py": 'class LinesModule:\n    """Lines."""\n',
    "src/models/parts/__init__.py": "",
    "src/models/parts/net.py": "class Net: ...\n",
    "src/callbacks/__init__.py": "",
    "src/callbacks/watch.py": "class Watch: ...\n",
    "configs/defaults.yaml": "callbacks:\n  watch: {class_path: src.callbacks.watch.Watch}\n",
    "configs/points.yaml": (
        "# python train.py --config configs/points.yaml\n"
        "model:\n  class_path: src.models.points.PointsModule\n  init_args:\n    net: torch.nn.Identity\n"
        "data: {class_path: trainworks.datamodules.ImageFolderDataModule}\n"
    ),
    "configs/lines.yaml": (
        "# python train.py --config configs/lines.yaml\nmodel: {class_path: src.models.lines.LinesModule}\n"
    ),
    "configs/overlays/free.yaml": "trainer: {precision: bf16-mixed}\n",
    "configs/overlays/bound.yaml": "callbacks: {lines: {class_path: src.models.lines.Callback}}\n",
    "configs/sweeps/points.yaml": "space: {}\n",
    "tests/__init__.py": "",
    "tests/helper.py": "from src.models.lines import LinesModule\n",
    "tests/test_all.py": "import src.callbacks.watch\n",
    "tests/test_a_config.py": 'CONFIG = "configs/lines.yaml"\n',
    "tests/test_help.py": "from tests.helper import LinesModule\n",
    "tests/models/__init__.py": "",
    "tests/models/test_points.py": "import src.models.points\n\nKIND = src.models.points.PointsModule\n",
    "tests/models/test_lines.py": "",
    "CHANGELOG.md": f"# Changelog\n\n## {__version__}\n\nold\n",
}


@pytest.fixture
def template(tmp_path: Path) -> Path:
    folder = tmp_path / "template"
    shutil.copytree(ROOT / "trainworks", folder / "trainworks", ignore=shutil.ignore_patterns("__pycache__", "tests"))
    for name in ("train.py", "pyproject.toml", ".pre-commit-config.yaml", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "train.py", *words], cwd=folder, capture_output=True, text=True, check=False)


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def project(template: Path) -> Path:
    done = run(template, "new", "../leaves", "--config", "configs/points.yaml")
    assert done.returncode == 0, done.stderr
    return template.parent / "leaves"


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_project_holds_what_its_config_needs(project: Path, template: Path) -> None:
    own = {name for name in names(project) if name.partition("/")[0] in ("src", "configs", "tests")}
    assert own == {
        *("src/__init__.py", "src/models/__init__.py", "src/models/points.py", "src/models/parts/__init__.py"),
        *("src/models/parts/net.py", "src/callbacks/__init__.py", "src/callbacks/watch.py"),
        *("configs/defaults.yaml", "configs/points.yaml", "configs/overlays/free.yaml", "configs/sweeps/points.yaml"),
        *("tests/__init__.py", "tests/test_all.py", "tests/models/__init__.py", "tests/models/test_points.py"),
    }
    assert "configs/points.yaml" in (project / "README.md").read_text()
    assert (project / ".pre-commit-config.yaml").read_text().count("exclude: ^trainworks/\n") == 1


def test_the_library_comes_whole_and_is_left_alone_by_the_tools(project: Path, template: Path) -> None:
    files = names(project / "trainworks")
    assert files == names(template / "trainworks") | {"CHECKSUMS"} and "tests/conftest.py" not in files
    assert (
        recorded_checksums(project / "trainworks")
        == checksums(project / "trainworks")
        == checksums(template / "trainworks")
    )
    content = tomllib.loads((project / "pyproject.toml").read_text())
    assert content["project"]["name"] == "leaves" and content["tool"]["pytest"]["ini_options"]["testpaths"] == ["tests"]
    assert content["tool"]["ruff"]["extend-exclude"] == ["trainworks"] and content["tool"]["mypy"]["files"] == [
        "src",
        "train.py",
    ]
    development = " ".join(content["project"]["optional-dependencies"]["dev"])
    assert "pytest" in development and "playwright" not in development
    assert git(project, "log", "--format=%s") == f"From the template, version {__version__}\n"
    assert git(project, "status", "--short") == ""


def test_every_command_is_there(project: Path) -> None:
    assert "sweep needs --sweep FILE" in run(project, "sweep", "--config", "configs/points.yaml").stderr


def test_a_project_makes_another(project: Path) -> None:
    assert run(project, "new", "../more", "--config", "configs/points.yaml").returncode == 0
    more = project.parent / "more"
    ours, theirs = ({name for name in names(folder) if not name.startswith(".git/")} for folder in (project, more))
    assert ours == theirs
    text = (project / "pyproject.toml").read_text()
    assert (more / "pyproject.toml").read_text() == text.replace(f'"{project.name}', '"more')


def test_needs_are_closed(template: Path) -> None:
    found = needed(template / "configs/points.yaml", template)
    assert "src/models/parts/net.py" in found and "src/models/lines.py" not in found
    assert Project(template, ("configs/points.yaml",)).modules >= found


def test_a_new_task_derives_its_data_from_the_library(template: Path) -> None:
    words = ("new", "../leaves", "--config", "configs/points.yaml", "--task", "angle", "--like", "points")
    done = run(template, *words)
    assert done.returncode == 0, done.stderr
    project = template.parent / "leaves"
    data, config = ((project / name).read_text() for name in ("src/datamodules/angle.py", "configs/angle.yaml"))
    assert "class AngleDataModule(ImageFolderDataModule)" in data and "# FILL IN 1 of " in data
    assert "src.datamodules.angle.AngleDataModule" in config and "src.models.angle.AngleModule" in config
    assert "AngleModule" in (project / "tests/models/test_angle.py").read_text()
    assert "Points" not in (project / "src/models/angle.py").read_text()


def test_update_replaces_the_library_whole(project: Path, template: Path) -> None:
    assert run(project, "update", "--from", "../template").stdout == "nothing has changed\n"
    initial = template / "trainworks/__init__.py"
    initial.write_text(initial.read_text().replace(f'"{__version__}"', '"9.10.0"'))
    (template / "trainworks/added.py").write_text("A = 1\n")
    (template / "trainworks/optim/fused.py").unlink()
    sections = (
        f"# Changelog\n\n## 9.11.0\n\nlater\n\n## 9.10.0\n\nnew\n\n## 9.9.0\n\nbetween\n\n## {__version__}\n\nold\n"
    )
    (template / "CHANGELOG.md").write_text(sections)
    stated = (template / "pyproject.toml").read_text()
    (template / "pyproject.toml").write_text(stated.replace('"filelock>=3.13"', '"filelock>=9"'))
    windows = project / "trainworks/errors.py"
    windows.write_bytes(windows.read_bytes().replace(b"\n", b"\r\n"))  # as git may write it there
    (project / "trainworks.new").mkdir()  # of an update that was killed
    done = run(project, "update", "--from", "../template")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(
        f"trainworks {__version__} -> 9.10.0: 3 files changed\n\n## 9.10.0\n\nnew\n\n## 9.9.0\n\nbetween\n"
    )
    assert "later" not in done.stdout and "old" not in done.stdout and "filelock>=9" in done.stdout
    assert names(project / "trainworks") - {"CHECKSUMS"} == {*checksums(template / "trainworks")}
    assert recorded_checksums(project / "trainworks") == checksums(project / "trainworks")
    assert not (project / "trainworks.new").exists() and not (project / "trainworks.old").exists()


@pytest.mark.parametrize(("change", "name"), [("edit", "errors.py"), ("remove", "optim/fused.py"), ("add", "mine.py")])
def test_update_refuses_a_library_that_was_edited(project: Path, template: Path, change: str, name: str) -> None:
    (template / "trainworks/errors.py").write_text("changed = True\n")
    file = project / "trainworks" / name
    file.unlink() if change == "remove" else file.write_text("A = 1\n")
    before = {path: path.read_bytes() for path in (project / "trainworks").rglob("*") if path.is_file()}
    done = run(project, "update", "--from", "../template")
    if change == "edit":  # errors.py is what the command itself imports
        assert done.returncode != 0
    else:
        assert done.returncode == 2 and f"trainworks/ was edited: {name}; put them back" in done.stderr
    assert {p: p.read_bytes() for p in before if p.suffix == ".py"} == {
        p: b for p, b in before.items() if p.suffix == ".py"
    }


def test_add_brings_what_is_not_there(project: Path, template: Path) -> None:
    (project / "src/models/points.py").write_text("MINE = 1\n")
    done = run(project, "add", "--from", "../template", "../template/configs/lines.yaml", "configs/points.yaml")
    assert done.returncode == 0, done.stderr
    assert "added: src/models/lines.py\n" in done.stdout and "added: configs/lines.yaml\n" in done.stdout
    assert "added: tests/models/test_lines.py" in done.stdout and "added: configs/overlays/bound.yaml" in done.stdout
    assert "left as it is, though the template's differs: src/models/points.py\n" in done.stdout
    assert done.stdout.count("left as it is") == 1 and (project / "src/models/points.py").read_text() == "MINE = 1\n"
    (template / "trainworks/added.py").write_text("A = 1\n")
    done = run(project, "add", "--from", "../template", "configs/lines.yaml")
    assert done.returncode == 2 and "first: python train.py update --from ../template" in done.stderr


def test_the_changelog_is_that_of_the_versions_between() -> None:
    text = "# Changelog\n\n## Unreleased\n\nx\n\n## 0.10.0 (2027)\n\na\n\n## 0.9.1\n\nb\n\n## 0.9.0\n\nc\n"
    assert changelog_between(text, "0.9.0", "0.10.0") == "## 0.10.0 (2027)\n\na\n\n## 0.9.1\n\nb"
    assert changelog_between(text, "0.10.0", "0.10.0") == changelog_between("", "0.1.0", "0.2.0") == ""


def test_mistakes(template: Path, project: Path) -> None:
    (template.parent / "full").mkdir()
    (template.parent / "full" / "a").touch()
    (template.parent / "c.yaml").write_text("a: 1\n")
    points = ("--config", "configs/points.yaml")
    for words, message in {
        ("new",): "new needs a folder and a config",
        ("new", "../full", *points): "exists and is not empty",
        ("new", "../1a", *points): "1a is no name for a project",
        ("new", "p", *points): "is inside the template",
        ("new", "../p", "--config", "../c.yaml"): "is outside the template",
        (
            "new",
            "../p",
            "--config",
            "src/../configs/point.yaml",
        ): "no config of the template (did you mean configs/points.yaml?)",
        ("new", "../p", "check", "export", *points): "new takes one folder, got ../p, check, export; a project has all",
        ("new", "../p", *points, "--task", "b"): "--task and --like belong together",
        ("new", "../p", *points, "--task", "lines", "--like", "points"): "--task lines must be a new name",
        ("new", "../p", *points, "--task", "class", "--like", "points"): "--task class must be a new name",
        ("new", "../p", *points, "--task", "b", "--like", "point"): "point is no task (did you mean points?)",
        ("new", "../p", *points, "--task", "b", "--like", "lines"): "none of the configs trains LinesModule",
        ("add", "configs/lines.yaml"): "add needs --from FOLDER, a clone of the template",
        ("add", "--from", "."): "--from . is this folder; add takes from a clone of the template",
        ("update", "--from", "."): "--from . is this folder; update takes from a clone of the template",
        ("update", "--from", ".."): "--from ..: no template there",
        ("update", "--from", "../leaves"): "this is no project that `new` made",
    }.items():
        done = run(template, *words)
        assert done.returncode == 2 and message in done.stderr, (words, done.stderr)
        assert not (template.parent / "p").exists()


def test_another_library_than_the_one_beside_it_is_told(template: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(template / "trainworks", other / "trainworks")
    code = f"import sys, runpy; sys.path.insert(0, {str(other)!r}); import trainworks\n"
    code += "runpy.run_path('train.py', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], cwd=template, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and f"{other}/trainworks was imported instead of {template}/trainworks" in done.stderr
