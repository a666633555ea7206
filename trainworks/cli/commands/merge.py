from pathlib import Path

from trainworks.cli.command import TRUST, Command, Option
from trainworks.cli.command_line import CommandLine
from trainworks.errors import UsageError
from trainworks.runs.files import is_sharded


def merge(line: CommandLine) -> int:
    """Write a sharded checkpoint as one file beside it, `<name>-merged.ckpt`, which every command takes; return 0."""
    path = Path(line.options["ckpt_path"])
    if not is_sharded(path):
        raise UsageError(f"--ckpt_path {path}: not a sharded checkpoint, which is a folder; nothing is to be merged")
    from trainworks.runs.checkpoint_io import DurableCheckpointIO
    from trainworks.runs.continuing.checkpoint import read_start
    from trainworks.runs.sharded import merge_shards

    read_start(path)
    target = path.with_name(f"{path.stem}-merged.ckpt")
    DurableCheckpointIO().save_checkpoint(merge_shards(path), target)
    print(f"{target}: {target.stat().st_size / 1e6:,.1f} MB")
    return 0


COMMAND = Command(
    merge,
    "Make one file of a sharded checkpoint.",
    needs="words",
    options=(Option("ckpt_path", "a sharded checkpoint", "FOLDER", required=True), TRUST),
)
