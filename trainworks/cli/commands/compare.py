from trainworks.cli.command import Command, Option
from trainworks.cli.command_line import CommandLine


def compare(line: CommandLine) -> int:
    """Print the settings in which runs differ and what came of them."""
    from trainworks.cli.search.compare import compare_runs

    return compare_runs(line.words, line.options.get("sort_by"), line.options.get("mode"), line.options.get("output"))


COMMAND = Command(
    compare,
    "Print the settings in which runs differ, and what came of them.",
    needs="words",
    words="RUN ...",
    options=(
        Option("sort_by", "the metric that decides the order; what the best checkpoint monitors by default", "METRIC"),
        Option("mode", "which of its values is best", choices=("min", "max")),
        Option("output", "a .csv or .md file for the table", "FILE"),
    ),
)
