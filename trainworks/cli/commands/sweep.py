from trainworks.cli.command import Command, Option
from trainworks.cli.request import Request


def sweep(request: Request) -> int:
    """Search for the best values of some settings."""
    from trainworks.cli.search.sweep import search

    return search(request)


COMMAND = Command(
    sweep,
    "Search for the best values of some settings, one training after the other.",
    needs="configuration",
    options=(
        Option("sweep", "what is searched, such as configs/sweeps/digits.yaml", "FILE", required=True),
        Option("run_name", "name of the search; that of its file by default"),
        Option("num_seeds", "train the best trials again with so many other seeds", "N", minimum=2),
        Option("num_best", "how many trials --num_seeds repeats, 3 by default", "N", minimum=1),
        Option("num_trials", "in place of that key of the file", "N", minimum=1),
        *(
            Option(key, "in place of that key of the file, as YAML", "VALUE")
            for key in ("sampler", "pruner", "storage")
        ),
        *(Option(key, "in place of that key of the file, as YAML", "VALUE") for key in ("objectives", "space")),
    ),
)
