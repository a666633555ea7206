"""A command from its words to its exit code. What is heavy is imported when words and files are known to be right."""

import errno
import sys
from collections.abc import Sequence
from typing import Any

from trainworks.cli.command_line import CommandLine
from trainworks.cli.request import Request
from trainworks.errors import RunFailure, UsageError
from trainworks.runs.files import trusting
from trainworks.runtime.memory import without_collection
from trainworks.runtime.signals import Stopped, interrupts_leave


def carry_out(words: list[str], start_time: float, callbacks: Sequence[dict[str, Any]] = ()) -> int:
    """Do what the words after train.py ask for, and say what is wrong with them in one message.

    It began at `start_time`, in seconds since 1970; a training gets `callbacks` beside the configuration's. Returned is
    the exit code: 1 for a failure, 2 for a mistake in what was typed or configured, 128 + a signal that stopped it.
    """
    with without_collection():
        try:
            line = CommandLine.parse(words)
            with trusting(line.is_trusting):
                return _carry_out(line, start_time, callbacks)
        except (UsageError, RunFailure) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2 if isinstance(error, UsageError) else 1
        except Stopped as stopped:  # before there was anything to lose
            return stopped.exit_code
        except KeyboardInterrupt:
            return 130
        except BrokenPipeError:  # whoever read the answer has gone, as head does
            return 1
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            print("error: no space left on the disk; make room and start again", file=sys.stderr)
            return 1


def _carry_out(line: CommandLine, start_time: float, callbacks: Sequence[dict[str, Any]]) -> int:
    command = line.command
    if line.help is not None:
        from trainworks.cli.help import print_help

        return print_help(line)
    if command.needs == "words":
        return int(command.run(line))
    with interrupts_leave():  # where a class is swapped, it may be imported
        request = Request.build(line)
    request.callbacks = callbacks
    if (run := request.finished_run) is not None:
        print(f"{run.directory} is finished; nothing is left to do")
        return 0
    if command.needs == "configuration" and not line.print_config:
        return int(command.run(request))
    with interrupts_leave():
        from trainworks.cli.session import run_session  # torch and Lightning take seconds: only when all is well so far

    return run_session(request, start_time)
