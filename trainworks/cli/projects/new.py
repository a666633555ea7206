"""Making a project of its own out of some configs of the template."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from trainworks import __version__
from trainworks.cli.projects.library import FOLDER
from trainworks.cli.projects.project import Project, command_of, num_lines
from trainworks.cli.projects.skeleton import skeleton
from trainworks.errors import UsageError
from trainworks.root import OWN, ROOT, example_command


def make_project(words: list[str], files: list[str], task: str | None, like: str | None) -> int:
    """Write the chosen configs and what they need into a new folder, with a git repository of one commit; return 0.

    Args:
        words: The folder alone.
        files: Paths of the configs.
        task: Name of a new task, if one is wanted.
        like: The task that it is made like.
    """
    if not words or not files:
        how = example_command().replace("train.py", "train.py new ../leaves")
        raise UsageError(f"new needs a folder and a config; write {how}")
    if len(words) > 1:
        raise UsageError(f"new takes one folder, got {', '.join(words)}; a project has all commands anyway")
    folder = Path(words[0]).resolve()
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", folder.name):
        raise UsageError(f"{folder.name} is no name for a project: a letter, then letters, digits, - and _")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not empty; write another folder")
    if folder.is_relative_to(ROOT.resolve()):
        raise UsageError(f"{folder} is inside the template; write a folder beside it, such as ../{folder.name}")
    if (task is None) != (like is None):
        raise UsageError("--task and --like belong together, such as --task angle --like classifier")
    if task is not None and (not re.fullmatch(r"[a-z][a-z0-9_]*", task) or (ROOT / OWN / f"models/{task}.py").exists()):
        raise UsageError(f"--task {task} must be a new name of small letters, digits and _, such as angle")
    project = Project(ROOT, tuple(_below(path) for path in files))
    made = skeleton(task, like, project) if task and like else {}
    there = folder.exists()
    try:
        _write(folder, project, made)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        if there:
            folder.mkdir()
        raise
    print(f"{folder}\nyours: {num_lines(folder / OWN)} lines of Python in {OWN}/, {len(project.tests)} files of tests")
    print(f"the library: {FOLDER}/, version {__version__}, with all commands")
    for path in sorted(made):
        print(f"to fill in: {path}")
    config = f"configs/{task}.yaml" if task else project.configs[0]
    print(f"\ncd {words[0]} && {command_of(folder / config)}")
    return 0


def _write(folder: Path, project: Project, made: dict[str, str]) -> None:
    project.write(folder, folder.name)
    for name, text in made.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    configs = [folder / name for name in (*made, *project.configs) if name.endswith(".yaml")]
    (folder / "README.md").write_text(project.readme(folder.name, configs), encoding="utf-8")
    python = [name for name in made if name.endswith(".py")]
    for words in (["check", "--fix"], ["format"]) if python else ():  # where ruff is there: new names, another order
        ruff = [sys.executable, "-m", "ruff", *words, "--quiet", *python]
        subprocess.run(ruff, cwd=folder, check=False, capture_output=True)
    _git(folder, "init", "--quiet", "--initial-branch=main")
    _git(folder, "add", "--all")
    _git(folder, "commit", "--quiet", "-m", f"From the template, version {__version__}")


def _git(folder: Path, *words: str) -> None:
    """Run git in a folder; a missing identity is made up, for the one commit of the template's."""
    known = (
        subprocess.run(["git", "config", "user.email"], cwd=folder, capture_output=True, check=False).returncode == 0
    )
    who = [] if known else ["-c", "user.name=template", "-c", "user.email=template@localhost"]
    done = subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UsageError(f"git {words[0]} failed in {folder}: {(done.stderr or done.stdout).strip()}")


def _below(path: str) -> str:
    """Return the path of a config below the template's root."""
    full = Path(path).resolve()
    if not full.is_relative_to(ROOT.resolve()):
        raise UsageError(f"--config {path} is outside the template; copy it into configs/ first")
    return full.relative_to(ROOT.resolve()).as_posix()
