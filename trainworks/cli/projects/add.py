"""Bringing configs of the template into a project."""

import os
import shutil
from pathlib import Path

from trainworks.cli.projects.library import FOLDER, checksums, recorded_checksums, version_of
from trainworks.cli.projects.project import Project, command_of
from trainworks.errors import UsageError
from trainworks.root import ROOT


def add_configs(names: list[str], source_folder: str) -> int:
    """Copy configs and the files that they need where there are none yet, and name those that differ; return 0.

    Args:
        names: The configs, such as configs/detection.yaml.
        source_folder: A clone of the template.
    """
    template = template_at(source_folder, "add")
    if not names:
        raise UsageError("add needs a config of the template, such as configs/detection.yaml")
    if recorded_checksums(ROOT / FOLDER) != checksums(template / FOLDER):
        how = f"python train.py update --from {source_folder}"
        raise UsageError(f"the library of {template} is another than this project's; first: {how}")
    words = [os.path.relpath(word, template) if Path(word).is_relative_to(template) else word for word in names]
    project = Project(template, tuple(words))
    for name in project.files:
        source, target = template / name, ROOT / name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
            print(f"added: {name}")
        elif source.read_text(encoding="utf-8") != target.read_text(encoding="utf-8"):
            print(f"left as it is, though the template's differs: {name}")
    print("\n" + "\n".join(command_of(ROOT / name) for name in project.configs))
    return 0


def template_at(folder: str, command: str) -> Path:
    """Return the clone of the template that a command's --from names; anything else is a UsageError."""
    template = Path(folder)
    version_of(template)
    if template.resolve() == ROOT.resolve():
        raise UsageError(f"this is the template itself; {command} belongs to a project that `new` made")
    return template
