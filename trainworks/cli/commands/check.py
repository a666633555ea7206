from trainworks.cli.command import BOOLEAN, Command, Option
from trainworks.cli.request import Request


def check(request: Request) -> int:
    """Report on the data, or without a configuration on this machine; return 0 where nothing is wrong, else 1."""
    from trainworks.cli.process import settled_process

    if not request.config:
        from trainworks.cli.machine import describe_machine

        return describe_machine()
    with settled_process():
        from trainworks.cli.data_report import report_data

        return report_data(request.config, request.line.options.get("statistics") == "true")


COMMAND = Command(
    check,
    "Read all data and report all problems at once; without --config: describe this machine.",
    needs="configuration",
    options=(Option("statistics", "whether to print mean and std of the training images", choices=BOOLEAN),),
    config_optional=True,
)
