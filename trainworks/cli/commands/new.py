from trainworks.cli.command import Command, Option
from trainworks.cli.command_line import CommandLine


def new(line: CommandLine) -> int:
    """Write some configs and what they need into a new folder."""
    from trainworks.cli.projects.new import make_project

    return make_project(line.words, line.files, line.options.get("task"), line.options.get("like"))


COMMAND = Command(
    new,
    "Make a project of its own out of some configs and what they need.",
    needs="words",
    words="FOLDER",
    options=(
        Option("config", "a config of the template; may be given several times", "FILE"),
        Option("task", "name of a new task, whose files are written out of those of --like"),
        Option("like", "a task that there is, such as classifier", "TASK"),
    ),
)
