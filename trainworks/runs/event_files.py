import struct
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event

from trainworks.runs.continuing.state import Start


def first_repeated_step(directory: Path, start: Start) -> int:
    """Return the step from which on TensorBoard may leave out what a run has written, since it is done again.

    It is above every step that was written before the checkpoint, whatever was counted: modules with several optimizers
    log at their own steps too.
    """
    step, saved = start.step, start.path.stat().st_mtime if start.path else 0.0
    for file in directory.rglob("events.out.tfevents.*"):
        with file.open("rb") as content:
            while len(header := content.read(12)) == 12:  # the length of the record, and a checksum
                (length,) = struct.unpack("<Q4x", header)
                if len(record := content.read(length + 4)) < length + 4:  # the process was killed while it wrote
                    break
                event = Event.FromString(record[:length])
                step = max(step, event.step + 1) if event.wall_time <= saved else step
    return step
