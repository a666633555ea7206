import os
from pathlib import Path

from trainworks.cli.command import Command, Option
from trainworks.cli.command_line import CommandLine
from trainworks.cli.projects.library import FOLDER, checksums, copy_files, recorded_checksums, template_of
from trainworks.cli.projects.project import Project, command_of
from trainworks.errors import UsageError
from trainworks.root import ROOT


def add(line: CommandLine) -> int:
    """Copy configs and the files that they need where there are none yet, and name those that differ; return 0."""
    template = template_of(line)
    if not line.positional:
        raise UsageError("add needs a config of the template, such as configs/detection.yaml")
    if recorded_checksums(ROOT / FOLDER) != checksums(template / FOLDER):
        how = f"python train.py update --from {template}"
        raise UsageError(f"the library of {template} is another than this project's; first: {how}")
    below = [
        os.path.relpath(word, template) if Path(word).is_relative_to(template) else word for word in line.positional
    ]
    project = Project(template, tuple(below))
    new = [name for name in project.files if not (ROOT / name).exists()]
    copy_files(new, template, ROOT)
    for name in project.files:
        if name in new:
            print(f"added: {name}")
        elif (template / name).read_text(encoding="utf-8") != (ROOT / name).read_text(encoding="utf-8"):
            print(f"left as it is, though the template's differs: {name}")
    if not new:
        print("nothing is missing here")
    print("\n" + "\n".join(command_of(ROOT / name) for name in project.configs))
    return 0


COMMAND = Command(
    add,
    "Bring a config of the template, and what it needs, into this project.",
    needs="words",
    positional="CONFIG ...",
    options=(Option("from", "a clone of the template", "FOLDER", required=True),),
)
