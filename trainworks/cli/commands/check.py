from trainworks.cli.command import BOOLEAN, Command, Option
from trainworks.cli.request import Request
from trainworks.errors import UsageError


def check(request: Request) -> int:
    """Report on the data, or without a configuration on this machine; return 0 where nothing is wrong, else 1."""
    picture = request.line.options.get("picture")
    if picture is not None and (not request.config or not picture.lower().endswith(".png")):
        raise UsageError(f"--picture needs --config and a file that ends in .png, got {picture}")
    if not request.config:
        from trainworks.cli.machine import describe_machine

        return describe_machine()
    from trainworks.cli.data_report import report_data

    return report_data(request.config, request.line.options.get("statistics") == "true", picture)


COMMAND = Command(
    check,
    "Read all data and report all problems at once; without --config: describe this machine.",
    needs="configuration",
    config_optional=True,
    options=(
        Option("statistics", "whether to print mean and std of the training images", choices=BOOLEAN),
        Option("picture", "a .png file to draw training samples into, before and after their transforms", "FILE"),
    ),
)
