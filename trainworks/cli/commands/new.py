import re
import shutil
import subprocess
import sys
from keyword import iskeyword
from pathlib import Path

from trainworks import __version__
from trainworks.cli.command import Command, Option
from trainworks.cli.command_line import CommandLine
from trainworks.cli.projects.library import FOLDER
from trainworks.cli.projects.project import Project, command_of
from trainworks.cli.projects.skeleton import skeleton
from trainworks.errors import UsageError
from trainworks.root import OWN, ROOT, example_command


def new(line: CommandLine) -> int:
    """Write the chosen configs and what they need into a new folder, with a git repository of one commit; return 0."""
    task, like = line.options.get("task"), line.options.get("like")
    if not line.positional or not line.files:
        how = example_command().replace("train.py", "train.py new ../leaves")
        raise UsageError(f"new needs a folder and a config; write {how}")
    if len(line.positional) > 1:
        raise UsageError(f"new takes one folder, got {', '.join(line.positional)}; a project has all commands anyway")
    folder = Path(line.positional[0]).resolve()
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", folder.name):
        raise UsageError(f"{folder.name} is no name for a project: a letter, then letters, digits, - and _")
    there = folder.exists()
    if there and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not empty; write another folder")
    if folder.is_relative_to(ROOT.resolve()):
        raise UsageError(f"{folder} is inside the template; write a folder beside it, such as ../{folder.name}")
    if (task is None) != (like is None):
        raise UsageError("--task and --like belong together, such as --task angle --like classifier")
    is_taken = iskeyword(str(task)) or (ROOT / OWN / f"models/{task}.py").exists()
    if task is not None and (is_taken or not re.fullmatch(r"[a-z][a-z0-9_]*", task)):
        wanted = "a new name of small letters, digits and _, no word of Python, such as angle"
        raise UsageError(f"--task {task} must be {wanted}")
    project = Project(ROOT, tuple(_below(path) for path in line.files))
    made = skeleton(task, like, project) if task and like else {}
    try:
        project.write(folder, made)
        _format(folder, [name for name in made if name.endswith(".py")])
        _commit(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        if there:
            folder.mkdir()
        raise
    num_lines = sum(len(file.read_text(encoding="utf-8").splitlines()) for file in (folder / OWN).rglob("*.py"))
    print(f"{folder}\nyours: {num_lines} lines of Python in {OWN}/, {len(project.tests)} files of tests")
    print(f"the library: {FOLDER}/, version {__version__}, with all commands")
    for path in sorted(made):
        print(f"to fill in: {path}")
    config = f"configs/{task}.yaml" if task else project.configs[0]
    print(f"\ncd {line.positional[0]} && {command_of(folder / config)}")
    return 0


def _below(path: str) -> str:
    """Return the path of a config below the template's root."""
    full = Path(path).resolve()
    if not full.is_relative_to(ROOT.resolve()):
        raise UsageError(f"--config {path} is outside the template; copy it into configs/ first")
    return full.relative_to(ROOT.resolve()).as_posix()


def _format(folder: Path, made: list[str]) -> None:
    """Let ruff, where it is installed, put the files of a new task in order: new names have another one."""
    for words in (["check", "--fix"], ["format"]) if made else ():
        command = [sys.executable, "-m", "ruff", *words, "--quiet", *made]
        subprocess.run(command, cwd=folder, check=False, capture_output=True)


def _commit(folder: Path) -> None:
    """Make a git repository of one commit; a missing identity is made up for it."""
    known = subprocess.run(["git", "config", "user.email"], cwd=folder, check=False, capture_output=True)
    who = ["-c", "user.name=template", "-c", "user.email=template@localhost"] if known.returncode else []
    for words in (
        ["init", "--quiet", "--initial-branch=main"],
        ["add", "--all"],
        ["commit", "--quiet", "-m", f"From the template, version {__version__}"],
    ):
        done = subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UsageError(f"git {words[0]} failed in {folder}: {(done.stderr or done.stdout).strip()}")


COMMAND = Command(
    new,
    "Make a project of its own out of some configs and what they need.",
    needs="words",
    positional="FOLDER",
    options=(
        Option("config", "a config of the template; may be given several times", "FILE"),
        Option("task", "name of a new task, whose files are written out of those of --like"),
        Option("like", "a task that there is, such as classifier", "TASK"),
    ),
)
