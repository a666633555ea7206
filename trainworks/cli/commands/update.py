from trainworks.cli.command import Command, Option
from trainworks.cli.command_line import CommandLine


def update(line: CommandLine) -> int:
    """Replace the library of this project by the template's."""
    from trainworks.cli.projects.update import update_library

    return update_library(line.options["from"])


COMMAND = Command(
    update,
    "Replace the library of this project by the template's.",
    needs="words",
    options=(Option("from", "a clone of the template", "FOLDER", required=True),),
)
