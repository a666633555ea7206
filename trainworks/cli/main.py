"""The whole command: what was typed, the exit code, and the messages for mistakes."""

import atexit
import json
import os
import time

from trainworks.cli.carry_out import carry_out
from trainworks.runs.run import TRIAL_VARIABLE
from trainworks.runtime.cores import shorten_waiting
from trainworks.runtime.signals import leave


def run_and_leave(words: list[str]) -> None:
    """Run the command that was typed, and end the process with its exit code."""
    code = 1  # of a crash
    atexit.register(lambda: leave(code))  # first to come, last to be called
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what could come next
        from trainworks.cli.complete import complete

        complete()
    code = main(words)


def main(words: list[str]) -> int:
    """Run the command that was typed; return 0, 1 for a failure, 2 for a mistake in what was typed or configured."""
    start = time.time()
    shorten_waiting()
    os.environ.setdefault("MPLBACKEND", "agg")  # figures are drawn for files, not for a window
    return carry_out(words, start, json.loads(os.environ.get(TRIAL_VARIABLE, "[]")))
