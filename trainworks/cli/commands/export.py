from trainworks.cli.command import BOOLEAN, TRUST, Command, Option
from trainworks.cli.command_line import CommandLine


def export(line: CommandLine) -> int:
    """Write one file that answers without this repository."""
    from trainworks.cli.process import settled_process

    with settled_process():
        from trainworks.cli.export import export_checkpoint

        return export_checkpoint(line.options)


COMMAND = Command(
    export,
    "Write one file that answers without this repository.",
    needs="words",
    options=(
        Option("ckpt_path", "a checkpoint", "FILE", required=True),
        Option("format", "onnx (default) or pt2, which torch.export.load reads", choices=("onnx", "pt2")),
        Option("output", "the file to write; beside the checkpoint by default", "FILE"),
        Option("latency", "whether to print how long a batch takes; true by default", choices=BOOLEAN),
        TRUST,
    ),
)
