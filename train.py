"""Train a model, or evaluate one: python train.py [fit|validate|test|predict|...] --config configs/digits.yaml."""
# PYTHON_ARGCOMPLETE_OK

import atexit
import gc
import os
import sys
import time
from importlib import import_module


def main(words: list[str]) -> int:
    """Run the command that was typed; return 0, 1 for a failure, 2 for a mistake in what was typed or configured."""
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what could come next
        from src.cli.complete import complete

        complete()
    start = time.time()
    gc.disable()  # nearly all that is made until the training begins stays: looking for garbage would take a second
    from src.cli.command_line import SERIES, CommandLine  # imported here: loader workers import this file again
    from src.cli.request import Request
    from src.errors import UsageError
    from src.runtime.cores import shorten_waiting
    from src.runtime.signals import interrupts_leave

    shorten_waiting()
    try:
        line = CommandLine.parse(words)
        os.environ.setdefault("MPLBACKEND", "agg")  # figures are drawn for files, not for a window
        with interrupts_leave():  # where a class is swapped, it may be imported
            request = Request.build(line)
        if line.command and line.command in SERIES and not line.help:
            return getattr(import_module(f"src.cli.commands.{line.command}"), line.command)(request)
        with interrupts_leave():
            from src.cli.session import run  # torch and Lightning take seconds: only when all is well so far

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


if __name__ == "__main__":
    from src.runtime.signals import leave

    code = 1  # of a crash
    atexit.register(lambda: leave(code))  # first to come, last to be called
    code = main(sys.argv[1:])
