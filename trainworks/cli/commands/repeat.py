from trainworks.cli.command import Command, Option
from trainworks.cli.request import Request


def repeat(request: Request) -> int:
    """Train over all folds, or with several seeds, and average."""
    from trainworks.cli.search.repeat import train_repeatedly

    return train_repeatedly(request)


COMMAND = Command(
    repeat,
    "Train over all folds, or with several seeds, and average.",
    needs="configuration",
    options=(
        Option("num_folds", "train on so many folds (cross-validation)", "N", minimum=2),
        Option("num_seeds", "train with so many seeds", "N", minimum=2),
        Option("run_name", "name of all runs together; the time by default"),
    ),
)
