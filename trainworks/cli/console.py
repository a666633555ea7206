"""What the terminal shows: copied into train.log, and free of messages that a user cannot act on."""

import io
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

# Lightning's remarks that say nothing about this run, or that the lines printed at start and end already say.
NOISE = re.compile(
    r"💡 Tip|GPU available|TPU available|Seed set to|Restoring states|Restored all states|"
    r"Loaded model weights|`weights_only` was not set|Loading `train_dataloader` to estimate|Finished batch size|"
    r"`Trainer.fit` stopped: `max_(epochs|steps)=|Running in `fast_dev_run`|Found current_model_state in the checkpoint"
    r"|that has Tensor Cores|Using (16bit|bfloat16) Automatic Mixed"  # tf32 and trainer.precision say so
    r"|` was configured so "  # what was typed says so
    r"|Initializing distributed: GLOBAL_RANK|distributed_backend=|SLURM auto-requeueing enabled"  # our first line does
)
WARNINGS = (
    r".*LeafSpec.*",  # deprecated call inside Lightning (_pytree.py)
    r".*number of training batches .* is smaller than the logging interval.*",  # epoch means are logged all the same
    r".*does not have many workers.*",  # right for data in memory, which needs none
    r"Be aware that when using `ckpt_path`, callbacks used.*",  # some are switched off on purpose
    r"Total length of `list` across ranks is zero.*",  # no validation split, which is said
    r".*`val(_dataloader|idation_step)`.* have no `val(_dataloader|idation_step)`.*",  # the same
    r".*could not find the monitored key in the returned metrics.*",  # the training ended before a validation
    r"Checkpoint directory .* exists and is not empty.*",  # a run that continues
    r"The dirpath has changed from .*",  # of a run that was moved; a training that continues is told its new paths
    r"You're resuming from a checkpoint that ended before the epoch ended.*",  # said by ourselves where it matters
    r"You passed `Trainer.accelerator='cpu', precision='16-mixed'.*",  # said by ourselves
    r"\s*Unable to serialize instance.*",  # jsonargparse of a text for Callable | str, which is kept
    r"No seed found, seed set to .*",  # the first line tells it
    r".*srun. command is available on your system but is not used.*",
)


class Tee:
    """Shows what is written to a terminal or pipe, and copies finished lines to a log; a bar leaves its last state."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._line = ""
        self._log: Any = io.StringIO()  # the lines wait there until the log's file is known

    def open(self, log: TextIO) -> None:
        """Begin to copy into `log`, with what was shown before."""
        log.write(self._log.getvalue())
        self._log = log

    def write(self, text: str) -> int:
        """Show `text`, and copy the lines it completes."""
        with suppress(OSError):  # whoever read it has gone, or its file's disk is full: the training goes on
            self.stream.write(text)
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._copy(line)
        self._line = self._line[self._line.rfind("\r") + 1 :] if not self._line.endswith("\r") else self._line
        return len(text)

    def flush(self) -> None:
        """Show what was written."""
        with suppress(OSError):
            self.stream.flush()

    def close_log(self) -> None:
        """Copy an unfinished line and stop."""
        if self._line.strip():
            self._copy(self._line)
        self._log = io.StringIO()

    def _copy(self, line: str) -> None:
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line.rstrip("\r").rpartition("\r")[2]).rstrip() + "\n"
        with suppress(OSError):  # a full disk must not end a training for the sake of its log
            self._log.write(shown)
            self._log.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def captured() -> Iterator[tuple[Tee, Tee]]:
    """Let tees stand in for stdout and stderr, for Lightning's log handlers too."""
    streams, tees = (sys.stdout, sys.stderr), (Tee(sys.stdout), Tee(sys.stderr))
    sys.stdout, sys.stderr = tees
    loggers = [logging.getLogger(name) for name in ("lightning", "lightning.pytorch", "lightning.fabric")]
    handlers = [h for logger in loggers for h in logger.handlers if isinstance(h, logging.StreamHandler)]
    for handler in handlers:
        handler.stream = tees[1]  # setStream would flush the stream before, which may be closed
        handler.addFilter(_is_worth_reading)
    try:
        yield tees
    finally:
        for handler in handlers:
            handler.stream = streams[1]
            handler.removeFilter(_is_worth_reading)
        sys.stdout, sys.stderr = streams


@contextmanager
def copied_to(path: Path, tees: tuple[Tee, Tee]) -> Iterator[None]:
    """Append all that is shown, from the start of the process on, to a file."""
    with path.open("a", encoding="utf-8") as log:
        for tee in tees:
            tee.open(log)
        try:
            yield
        finally:
            for tee in tees:
                tee.close_log()


def silence_noise() -> None:
    """Hide warnings that a user cannot act on; every other warning is shown once, in one line."""
    os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # Lightning 2.6 uses names that are deprecated
    for message in WARNINGS:
        warnings.filterwarnings("ignore", message)


def _is_worth_reading(record: logging.LogRecord) -> bool:
    return not NOISE.search(record.getMessage())
