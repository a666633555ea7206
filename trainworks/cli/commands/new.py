"""python train.py new ../leaves --config configs/image_folder.yaml [export ...]: a project of its own."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from trainworks.cli.closure import ROOT
from trainworks.cli.project import SUBJECT, Project, command_of, git, version
from trainworks.cli.request import Request
from trainworks.errors import UsageError


def new(request: Request) -> int:
    """Write the chosen configs and what they need into a new folder, with a git repository of one commit."""
    line = request.line
    if not line.words or not line.files:
        raise UsageError(
            "new needs a folder and a config; write python train.py new ../leaves --config configs/digits.yaml"
        )
    folder, task = Path(line.words[0]).resolve(), line.options.get("task")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", folder.name):
        raise UsageError(f"{folder.name} is no name for a project: a letter, then letters, digits, - and _")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not empty; write another folder")
    if folder.is_relative_to(ROOT):
        raise UsageError(f"{folder} is inside the template; write a folder beside it, such as ../{folder.name}")
    if ("task" in line.options) != ("like" in line.options):
        raise UsageError("--task and --like belong together, such as --task angle --like classifier")
    if task is not None and (not re.fullmatch(r"[a-z][a-z0-9_]*", task) or (ROOT / f"src/models/{task}.py").exists()):
        raise UsageError(f"--task {task} must be a new name of small letters, digits and _, such as angle")
    configs = [_below(path) for path in line.files]
    project = Project(folder.name, configs, sorted(line.words[1:]), [task, line.options["like"]] if task else [])
    there = folder.exists()
    try:
        project.write(folder)
        for words in (["check", "--fix"], ["format"]):  # where ruff is there: new names may change the order of imports
            ruff = [sys.executable, "-m", "ruff", *words, "--quiet", "."]
            subprocess.run(ruff, cwd=folder, check=False, capture_output=True)
        git(folder, "init", "--quiet", "--initial-branch=main")
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "-m", f"{SUBJECT}, version {version()}")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        if there:
            folder.mkdir()
        raise
    print(f"{folder}\n{project.described(folder)}")
    for path in project.own:
        print(f"to fill in: {path}")
    print(f"\ncd {line.words[0]} && {command_of(folder / (project.own[0] if task else configs[0]))}")
    return 0


def _below(path: str) -> str:
    """Return the path of a config below the template's root."""
    full = Path(path).resolve()
    if not full.is_relative_to(ROOT):
        raise UsageError(f"--config {path} is outside the template; copy it into configs/ first")
    return full.relative_to(ROOT).as_posix()
