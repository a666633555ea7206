from trainworks.cli.command import Command, Option
from trainworks.cli.command_line import CommandLine


def schema(line: CommandLine) -> int:
    """Write the JSON schema of configurations."""
    from trainworks.cli.schema import write_schema

    return write_schema(line.options.get("output"))


COMMAND = Command(
    schema,
    "Write configs/schema.json, with which editors and shells complete configurations.",
    needs="words",
    options=(Option("output", "another file to write", "FILE"),),
)
