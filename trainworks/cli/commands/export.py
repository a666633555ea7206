from trainworks.cli.command import BOOLEAN, TRUST, Command, Option
from trainworks.cli.command_line import CommandLine


def export(line: CommandLine) -> int:
    """Write one file that answers without this repository."""
    from trainworks.cli.exporting.export import export_checkpoint

    return export_checkpoint(line.options)


COMMAND = Command(
    export,
    "Write a file that answers without this repository.",
    needs="words",
    options=(
        Option("ckpt_path", "a checkpoint", "FILE", required=True),
        Option("format", "onnx (default), pt2, which torch.export.load reads, or all", choices=("onnx", "pt2", "all")),
        Option(
            "precision", "of the network in an .onnx file; float32 by default", choices=("float32", "float16", "int8")
        ),
        Option("output", "the file to write; beside the checkpoint by default", "FILE"),
        Option("metrics", "whether to compare metrics of the validation, too", choices=BOOLEAN),
        Option("tolerance", "how far metrics may be apart", "0.002|0.01", pattern=r"\d*\.?\d+"),
        Option("method", "the module's method to export; outputs by default, or else forward"),
        Option("input_shape", "of one input that needs no preprocessing", "3,224,224", pattern=r"\d+(,\d+)*"),
        Option("opset", "version of ONNX's operations", "NUMBER", minimum=1),
        Option("licence", "of data and weights, to be written into the file", "TEXT"),
        Option("latency", "whether to print how long a batch takes; true by default", choices=BOOLEAN),
        TRUST,
    ),
)
