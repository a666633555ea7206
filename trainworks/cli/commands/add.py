"""python train.py add --from TEMPLATE configs/X.yaml: bring a task or a command of the template into this project."""

import os
import subprocess
import sys
from pathlib import Path

from trainworks.cli.request import Request
from trainworks.errors import UsageError

ROOT = Path(__file__).resolve().parents[3]


def add(request: Request) -> int:
    """Let the template bring in configs and commands, with what they need; git merges."""
    line = request.line
    template = Path(line.options.get("from", ""))
    if "from" not in line.options or not (template / "trainworks/cli/grow.py").is_file():
        raise UsageError(f"{line.command} needs --from FOLDER, a clone of the template")
    if template.resolve() == ROOT:
        raise UsageError(f"this is the template itself; {line.command} belongs to a project that `new` made")
    if line.command == "add" and not line.words:
        raise UsageError("add needs a config or a command of the template, such as configs/detection.yaml or export")
    words = [os.path.relpath(word, template) if Path(word).is_relative_to(template) else word for word in line.words]
    command = [sys.executable, "-m", "trainworks.cli.grow", str(ROOT), *words]
    return subprocess.run(command, cwd=template, check=False).returncode
