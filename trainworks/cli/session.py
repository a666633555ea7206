"""One command from start to end: build, run directory's records, command, exit code."""

import contextlib
import errno
import gc
import os
import shutil
import sys
import time
from importlib import import_module
from typing import Any

import torch

from trainworks.callbacks.last_checkpoint import device_name
from trainworks.callbacks.run_notes import note_end
from trainworks.cli.builder import CLI
from trainworks.cli.command_line import TRYING
from trainworks.cli.commands.evaluate import evaluate
from trainworks.cli.commands.fit import fit_and_test
from trainworks.cli.console import captured, copied_to, silence_noise
from trainworks.cli.facts import fill_in
from trainworks.cli.report import closing, headline
from trainworks.cli.request import Request
from trainworks.errors import RunFailure
from trainworks.runs.run import NAME_VARIABLE
from trainworks.runtime.cores import allowed_cores
from trainworks.runtime.launch import is_main_process
from trainworks.runtime.memory import keep_freed_memory
from trainworks.runtime.signals import STOP, Stopped
from trainworks.runtime.threads import limited_threads, usual_threads


def run(request: Request, start: float) -> int:
    """Build and run what was asked for, and keep the run directory's records; `start` is the process's, since 1970.

    The exit code is 0, 1 for a failure, 2 for a mistake, 128 + the signal's number if one stopped the run. A wrong
    configuration is a UsageError, before a run directory exists.
    """
    silence_noise()
    keep_freed_memory()
    command = request.line.command
    with limited_threads(usual_threads()):
        try:
            if command in ("check", "merge", "export", "schema") and not request.line.help:  # which make no run
                _collect_garbage()
                return _function_of(command)(request)
            with STOP.installed():
                return _build_and_run(request, start)
        except Stopped as stopped:  # while it was built: nothing is lost
            return stopped.exit_code
        except RunFailure as failure:
            print(f"error: {failure}", file=sys.stderr)
            return 1
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            print("error: no space left on the disk; make room and start again", file=sys.stderr)
            return 1


def _build_and_run(request: Request, start: float) -> int:
    line = request.line
    with captured() as tees, contextlib.ExitStack() as stack:
        if not line.help:
            request.config = fill_in(request.config)
        cli = CLI(request)
        _collect_garbage()
        stack.callback(cli.run.unlock)
        stack.callback(_leave_process_group)
        if line.command in TRYING:
            stack.callback(shutil.rmtree, cli.run.directory, ignore_errors=True)
        if not is_main_process() or line.command in TRYING:
            status, _ = _guarded(cli)
            if status and not is_main_process() and NAME_VARIABLE in os.environ:
                from trainworks.cli.explain import outlast

                _leave_process_group()  # so the others learn of it
                outlast(os.getppid())
            return status
        if request.run is None:
            (cli.run.directory / "config.yaml").write_text(cli.config_text, encoding="utf-8")
            counts = {name: getattr(cli.trainer, name) for name in ("num_devices", "num_nodes")}
            cli.run.start(start, {"cores": allowed_cores(), "accelerator": device_name(cli.trainer), **counts})
        elif line.trains:
            cli.run.start_again(start, str(cli.start.path) if cli.start.path else None)
        stack.enter_context(copied_to(cli.run.directory / "train.log", tees))
        print(headline(cli))
        status, error = _guarded(cli)
        if line.trains:
            cli.run.finish(status, error, cli.metrics, cli.best_score)
            note_end(cli.trainer, status == 0)
        elif line.evaluates:
            cli.run.add_evaluation(start, str(request.ckpt_path), status, cli.metrics)
        if status == 0 and line.command != "replay":
            print(closing(cli, time.time() - start))
        return status


def _guarded(cli: CLI) -> tuple[int, str | None]:
    """Run the command and turn what goes wrong into an exit code and a message."""
    command = cli.request.line.command
    try:
        if command is None:
            fit_and_test(cli)
        elif cli.request.line.evaluates:
            evaluate(cli, command, cli.request.ckpt_path)
        else:
            _function_of(command)(cli)
        return 0, None
    except BaseException as error:
        from trainworks.cli.explain import explain, say_stopped

        with contextlib.suppress(Exception):  # of a validation Lightning ends the workers, not those of the training
            cli.trainer.fit_loop.teardown()
        if isinstance(error, Stopped):
            return say_stopped(error, cli.run.directory if cli.request.line.trains else None), str(error)
        return explain(error, cli, _in_group())


def _function_of(command: str) -> Any:
    """Return the function of a command that few runs need; both have its name."""
    return getattr(import_module(f"trainworks.cli.commands.{command}"), command)


def _collect_garbage() -> None:
    """Look for garbage from now on, which train.py had stopped, but not in what is there already: that stays."""
    gc.freeze()
    gc.enable()


def _leave_process_group() -> None:
    """End gloo's threads, which otherwise now and then abort a process that is exiting; for NCCL Lightning does it."""
    if _in_group() and torch.distributed.get_backend() == "gloo":
        torch.distributed.destroy_process_group()


def _in_group() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
