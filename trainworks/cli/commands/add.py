"""python train.py add --from TEMPLATE configs/X.yaml: copy a config of the template into this project."""

import os
import shutil
from pathlib import Path

from trainworks.cli.command_line import CommandLine
from trainworks.cli.projects import library
from trainworks.cli.projects.project import Project, command_of
from trainworks.cli.request import Request
from trainworks.errors import UsageError
from trainworks.root import ROOT


def add(request: Request) -> int:
    """Copy configs and the files that they need, but for those that exist; name those that differ; return 0."""
    line = request.line
    template = template_of(line)
    if not line.words:
        raise UsageError("add needs a config of the template, such as configs/detection.yaml")
    if library.recorded_checksums(ROOT / library.FOLDER) != library.checksums(template / library.FOLDER):
        how = f"python train.py update --from {line.options['from']}"
        raise UsageError(f"the library of {template} differs from this project's; first: {how}")
    words = [os.path.relpath(word, template) if Path(word).is_relative_to(template) else word for word in line.words]
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


def template_of(line: CommandLine) -> Path:
    """Return the clone of the template that `--from` names."""
    if "from" not in line.options:
        raise UsageError(f"{line.command} needs --from FOLDER, a clone of the template")
    template = Path(line.options["from"])
    library.version_of(template)
    if template.resolve() == ROOT.resolve():
        raise UsageError(f"this is the template itself; {line.command} belongs to a project that `new` made")
    return template
