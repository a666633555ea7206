"""new, add, update: a project of its own, which grows."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from trainworks.cli.closure import closure, needed
from trainworks.cli.project import Project, num_lines
from trainworks.testing import QUICK, ROOT, Train

DIGITS = str(ROOT / "configs" / "digits.yaml")

COPIED = shutil.ignore_patterns(".git", "logs", "data", "__pycache__", ".*_cache", "*.egg-info")


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "train.py", *words] if words[0] != "git" else list(words)
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    done = run(folder, "git", *who, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_project_holds_what_its_config_needs(train: Train, tmp_path: Path) -> None:
    result = train("new", "leaves", "--config", DIGITS)
    assert (result.code, result.err) == (0, ""), result.err
    leaves = tmp_path / "leaves"
    assert [path.name for path in (leaves / "configs").glob("*.yaml")] == ["digits.yaml"]
    assert not (leaves / "src/models/detector.py").exists() and (leaves / "src/models/classifier.py").exists()
    assert 'detector="' not in (leaves / "src/models/__init__.py").read_text()
    lines = num_lines((leaves / "src").rglob("*.py"))
    assert f"src/: {lines} lines of Python" in result.out and lines <= 8318
    content = tomllib.loads((leaves / "pyproject.toml").read_text())
    needs = " ".join(content["project"]["dependencies"])
    assert content["project"]["name"] == "leaves" and content["tool"]["template"]["configs"] == ["configs/digits.yaml"]
    assert "scikit-learn" in needs and "scipy" not in needs and "pycocotools" not in needs
    assert "onnx" not in content["project"]["optional-dependencies"]
    assert "python train.py --config configs/digits.yaml" in (leaves / "README.md").read_text()
    assert git(leaves, "log", "--format=%s").startswith("From the template, version 0.1.0") and not git(
        leaves, "status", "-s"
    )
    assert "made without sweep; bring it in: python train.py add" in run(leaves, "sweep").stderr


def test_every_config_has_a_closure_that_is_closed() -> None:
    for path in (ROOT / "configs").glob("*.yaml"):
        project = Project("a", [str(path.relative_to(ROOT))])
        python = {name for name in project.modules if name.endswith(".py")}
        assert closure(python) == python and needed(path) <= python
        assert f"tests/datamodules/test_{path.stem}.py" in project.tests or path.stem not in ("digits", "diabetes")
        assert not any(name.startswith(("tests/reach", "tests/benchmarks")) for name in project.tests)


@pytest.mark.long
def test_a_new_task_trains_and_passes_before_the_first_edit(train: Train, tmp_path: Path) -> None:
    result = train("new", "p", "--config", DIGITS, "--task", "angle", "--like", "classifier")
    assert result.code == 0, result.err
    folder = tmp_path / "p"
    texts = "".join((folder / name).read_text() for name in re.findall(r"to fill in: (\S+)", result.out))
    assert sorted(re.findall(r"FILL IN (\d) of 5", texts)) == list("12345")
    assert "Classifier" not in re.sub(r"a classifier's|Multiclass\w+", "", texts) and "class AngleModule" in texts
    for name in ("angle", "digits"):
        assert run(folder, "--config", f"configs/{name}.yaml", *QUICK).returncode == 0
    rooms = ["tests/models", "tests/datamodules", "tests/test_configs.py"]  # the others do not know of the new task
    for words in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"], ["pytest", "-q", *rooms]):
        done = subprocess.run([sys.executable, "-m", *words], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
@pytest.mark.parametrize(
    ("like", "config"),
    [
        ("multilabel", "multilabel"),
        ("regressor", "diabetes"),
        ("segmenter", "segmentation"),
        ("detector", "detection"),
        ("gan", "gan"),
        ("language_model", "gpt"),
        ("vae", "vae"),
    ],
)
def test_a_task_is_made_like_any_other(train: Train, tmp_path: Path, like: str, config: str) -> None:
    result = train("new", "p", "--config", f"{ROOT}/configs/{config}.yaml", "--task", "angle", "--like", like)
    assert result.code == 0, result.err
    marks = [
        mark for path in (tmp_path / "p").rglob("*angle*") for mark in re.findall(r"FILL IN (\d)", path.read_text())
    ]
    assert sorted(marks) == [str(number) for number in range(1, len(marks) + 1)] and len(marks) >= 3
    words = [sys.executable, "-m", "pytest", "-q", "-n", "0", "tests/models/test_angle.py"]
    done = subprocess.run(words, cwd=tmp_path / "p", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.long
def test_a_project_grows_and_follows_the_template(train: Train, tmp_path: Path) -> None:
    template, project = tmp_path / "template", tmp_path / "p"
    shutil.copytree(ROOT, template, ignore=COPIED)
    assert (
        run(
            template, "new", "../p", "--config", "configs/digits.yaml", "--task", "a", "--like", "classifier"
        ).returncode
        == 0
    )
    mine = project / "src/models/a.py"
    mine.write_text(mine.read_text().replace("# FILL IN 2", "# mine 2"))
    file = project / "trainworks/runs/files.py"
    file.write_text(file.read_text() + "\n\ndef mine() -> None: ...\n")
    assert "not committed" in run(project, "add", "--from", "../template", "configs/vae.yaml").stderr
    git(project, "commit", "-qam", "mine")
    added = run(project, "add", "--from", "../template", "../template/configs/vae.yaml", "merge")
    assert added.returncode == 0, added.stderr
    assert run(project, "fit", "--config", "configs/vae.yaml", *QUICK).returncode == 0
    assert (project / "trainworks/cli/commands/merge.py").exists() and "mine 2" in mine.read_text()
    theirs = template / "trainworks/runs/files.py"
    theirs.write_text("# theirs\n" + theirs.read_text())
    updated = run(project, "update", "--from", "../template")
    assert updated.returncode == 0, updated.stderr
    assert file.read_text().startswith("# theirs\n") and "def mine()" in file.read_text()
    assert "nothing has changed" in run(project, "update", "--from", "../template").stdout
    file.write_text(file.read_text().replace("# theirs", "# ours"))
    git(project, "commit", "-qam", "ours")
    theirs.write_text(theirs.read_text().replace("# theirs", "# theirs again"))
    clash = run(project, "update", "--from", "../template")
    assert clash.returncode == 1 and "resolve the conflicts" in clash.stderr
    assert "<<<<<<<" in file.read_text()


def test_mistakes(train: Train, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").touch()
    elsewhere = tmp_path / "c.yaml"
    elsewhere.write_text("a: 1\n")
    for words, message in {
        ("new",): "new needs a folder and a config",
        ("new", "full", "--config", DIGITS): "exists and is not empty",
        ("new", "1a", "--config", DIGITS): "1a is no name for a project",
        ("new", f"{ROOT}/p", "--config", DIGITS): "is inside the template",
        ("new", "p", "--config", str(elsewhere)): "is outside the template",
        (
            "new",
            "p",
            "--config",
            f"{ROOT}/src/../configs/digit.yaml",
        ): "configs/digit.yaml is no config of the template",
        ("new", "p", "exprt", "--config", DIGITS): "exprt is no command to bring in (did you mean export?)",
        ("new", "p", "--config", DIGITS, "--task", "b"): "--task and --like belong together",
        ("new", "p", "--config", DIGITS, "--task", "gan", "--like", "classifier"): "--task gan must be a new name",
        (
            "new",
            "p",
            "--config",
            DIGITS,
            "--task",
            "b",
            "--like",
            "clasifier",
        ): "clasifier is no task (did you mean",
        (
            "new",
            "p",
            "--config",
            DIGITS,
            "--task",
            "b",
            "--like",
            "predict",
        ): "--like predict is no task; there are",
        ("new", "p", "--config", DIGITS, "--task", "b", "--like", "vae"): "none of the configs trains VAEModule",
        ("add", "configs/vae.yaml"): "add needs --from FOLDER, a clone of the template",
        ("update", "--from", str(ROOT)): "this is the template itself",
    }.items():
        result = train(*words)
        assert (result.code, message in result.err) == (2, True), (words, result.err)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.yaml", "full"]
