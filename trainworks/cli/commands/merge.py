"""python train.py merge --ckpt_path FOLDER: make one file of a sharded checkpoint."""

from pathlib import Path

from trainworks.cli.request import Request
from trainworks.errors import UsageError
from trainworks.runs.checkpoint_io import DurableCheckpointIO
from trainworks.runs.files import is_sharded
from trainworks.runs.resume import read_start
from trainworks.runs.sharded import merge_shards


def merge(request: Request) -> int:
    """Write a sharded checkpoint as one file beside it, `<name>-merged.ckpt`, which every command takes; return 0."""
    if "ckpt_path" not in request.line.options:
        raise UsageError("merge needs --ckpt_path FOLDER, a sharded checkpoint")
    path = Path(request.line.options["ckpt_path"])
    if not is_sharded(path):
        raise UsageError(f"--ckpt_path {path}: not a sharded checkpoint, which is a folder; nothing is to be merged")
    read_start(path)
    target = path.with_name(f"{path.stem}-merged.ckpt")
    DurableCheckpointIO().save_checkpoint(merge_shards(path), target)
    print(f"{target}: {target.stat().st_size / 1e6:,.1f} MB")
    return 0
