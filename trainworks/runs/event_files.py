"""What TensorBoard's files hold of a run that continues."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainworks.runs.continuing.state import Start


def first_repeated_step(directory: Path, start: Start) -> int:
    """Return the step from which on TensorBoard may leave out what a run has written, since it is done again.

    It is above every step that was written before the checkpoint, whatever was counted: modules with several optimizers
    log at their own steps too.
    """
    if start.path is None:
        return 0
    saved, files = start.path.stat().st_mtime, directory.rglob("events.out.tfevents.*")
    return max([start.step, *(event.step + 1 for file in files for event in _events(file) if event.wall_time <= saved)])


def _events(file: Path) -> Iterator[Any]:
    """Yield the events of a file; each record has its length and a checksum before it, and a checksum behind it."""
    from tensorboard.compat.proto.event_pb2 import Event  # only runs that continue need it

    with file.open("rb") as content:
        while len(header := content.read(12)) == 12:
            (length,) = struct.unpack("<Q4x", header)
            record = content.read(length + 4)
            if len(record) < length + 4:  # the process was killed while it wrote
                return
            yield Event.FromString(record[:length])
