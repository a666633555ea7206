from trainworks.cli.command import Command, Option
from trainworks.cli.command_line import CommandLine


def add(line: CommandLine) -> int:
    """Bring configs of the template into this project."""
    from trainworks.cli.projects.add import add_configs

    return add_configs(line.words, line.options["from"])


COMMAND = Command(
    add,
    "Bring a config of the template, and what it needs, into this project.",
    needs="words",
    words="CONFIG ...",
    options=(Option("from", "a clone of the template", "FOLDER", required=True),),
)
