"""The whole command: what was typed, the exit code, and the messages for mistakes."""

import atexit
import gc
import os
import sys
import time
from importlib import import_module

from trainworks.cli.command_line import SERIES, CommandLine
from trainworks.cli.request import Request
from trainworks.errors import UsageError
from trainworks.runtime.cores import shorten_waiting
from trainworks.runtime.signals import interrupts_leave, leave


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
    gc.disable()  # nearly all that is made until the training begins stays: looking for garbage would take a second
    shorten_waiting()
    try:
        line = CommandLine.parse(words)
        os.environ.setdefault("MPLBACKEND", "agg")  # figures are drawn for files, not for a window
        with interrupts_leave():  # where a class is swapped, it may be imported
            request = Request.build(line)
        if line.command and line.command in SERIES and not line.help:
            return getattr(import_module(f"trainworks.cli.commands.{line.command}"), line.command)(request)
        with interrupts_leave():
            from trainworks.cli.session import run  # torch and Lightning take seconds: only when all is well so far

        return run(request, start)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read the answer has gone, as head does
        return 1
    except SystemExit as answered:  # by help, for one
        return int(answered.code or 0)
    finally:
        gc.unfreeze()
        gc.enable()
