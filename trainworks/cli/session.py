"""One command with a trainer from start to end: run directory, build, records, command, exit code."""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from trainworks.cli.builder import Session, build_session, seed
from trainworks.cli.config import resolve
from trainworks.cli.configuration import Configuration
from trainworks.cli.console import captured, copied_to
from trainworks.cli.defaults import log_root, own_defaults
from trainworks.cli.facts import fill_in
from trainworks.cli.process import settled_process
from trainworks.cli.report import closing, headline, log_end
from trainworks.cli.request import Request
from trainworks.errors import UsageError
from trainworks.runs.continuing.state import Start
from trainworks.runs.page import write_page
from trainworks.runs.run import NAME_VARIABLE, Run
from trainworks.runs.yaml_files import load_file
from trainworks.runtime.cores import allowed_cores
from trainworks.runtime.devices import device_name
from trainworks.runtime.launch import is_main_process, job_name
from trainworks.runtime.memory import collect_from_now
from trainworks.runtime.signals import STOP, Stopped
from trainworks.runtime.stop_reason import stop_reason


def run_session(request: Request, start_time: float) -> int:
    """Build what was asked for, carry out the command, and keep the records of its run directory.

    The command began at `start_time`, in seconds since 1970. Returned is 0, 1 for a failure, 2 for a mistake, after
    which no new run directory is left, or 128 + the signal's number if one stopped the run.
    """
    with settled_process(), STOP.installed(), captured() as tees, contextlib.ExitStack() as stack:
        request.config, datamodule = fill_in(request.config)
        configuration = Configuration(request.config, request.line)
        if request.line.print_config:
            print(configuration.text, end="")
            return 0
        seed(configuration)
        run = stack.enter_context(run_directory(request))
        stack.callback(_leave_process_group)
        start, remarks, extends = _continuation(request, configuration, run)
        session = build_session(request, configuration, run, start, extends, datamodule)
        request.session = session
        if request.raises and session.trainer.world_size > 1 and session.trainer.strategy.launcher is not None:
            raise UsageError("several devices need the command python train.py; write trainer.devices 1 here")
        collect_from_now()
        if not is_main_process() or request.line.command.directory == "temporary":
            return _follow(session)
        _record_start(session, start_time)
        stack.enter_context(copied_to(run.directory / "train.log", tees))
        print(headline(session, remarks))
        status, error = _guarded(session)
        _record_end(session, start_time, status, error)
        if status == 0 and request.line.command.directory != "replayed":
            print(closing(session, time.time() - start_time))
        for logger in session.trainer.loggers:
            getattr(logger, "end_tracking", lambda: None)()  # or the next training of this process would go on there
        return status


@contextlib.contextmanager
def run_directory(request: Request) -> Iterator[Run]:
    """Hold the directory that a command writes into; a new one goes again if nothing was recorded in it."""
    if request.line.command.directory == "temporary":  # what is written is of no use to anybody
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            yield Run(Path(folder))
        return
    is_main = is_main_process()
    if (run := request.run) is None:
        name = request.config["experiment"], request.line.options.get("run_name"), job_name()
        run = Run.create(log_root(request.config), *name, makes=is_main)
    elif is_main:
        run.lock()
    try:
        yield run
    finally:
        if is_main and request.run is None and not (run.directory / "run.json").is_file():
            run.discard()
        run.unlock()


def _continuation(request: Request, configuration: Configuration, run: Run) -> tuple[Start, list[str], bool]:
    """Return where a run continues, remarks on changed settings, and whether it shall train for longer than before."""
    if request.run is None or request.line.evaluates:
        return Start(), [], False
    from trainworks.runs.continuing.checkpoint import find_start, read_start
    from trainworks.runs.continuing.settings import changes_length, check_settings

    keeps_last = configuration.parsed.callbacks.get("last") is not None
    path = request.ckpt_path
    start = read_start(Path(path)) if path else find_start(run.directory / "checkpoints", keeps_last)
    if not request.line.trains or _begins(request, start):
        return start, [], False
    stored = resolve(load_file(str(run.directory / "config.yaml")))
    remarks = check_settings(stored, configuration.content, own_defaults())
    if start.path is None:
        raise UsageError(f"{run.directory} is finished and kept no checkpoint to go on from; write a new --run_name")
    was_extended = run.read().get("extended_from") == start.step  # and stopped before it saved anything
    return start, remarks, was_extended or changes_length(stored, configuration.content)


def _begins(request: Request, start: Start) -> bool:
    """Whether a training starts from the beginning: its run is new, or kept no checkpoint until it was stopped."""
    return request.run is None or (request.line.trains and start.path is None and not request.run.is_finished)


def _follow(session: Session) -> int:
    """Carry out the command without records, as processes beside the main one do, and trials that nobody keeps."""
    status, _ = _guarded(session)
    if status and not is_main_process() and NAME_VARIABLE in os.environ:
        from trainworks.cli.failure import outlast

        _leave_process_group()  # so the others learn of it
        outlast(os.getppid())
    return status


def _record_start(session: Session, start_time: float) -> None:
    """Write into the run directory what the run is, or that it continues."""
    request, run, trainer = session.request, session.run, session.trainer
    if _begins(request, session.start):
        (run.directory / "config.yaml").write_text(session.configuration.text, encoding="utf-8")
        counts = {name: getattr(trainer, name) for name in ("num_devices", "num_nodes")}
        hardware = {"cores": allowed_cores(), "accelerator": device_name(trainer), **counts}
        run.start(start_time, request.line.typed, hardware)
    elif request.line.trains:
        run.start_again(start_time, request.line.typed, str(session.start.path))


def _record_end(session: Session, start_time: float, status: int, error: str | None) -> None:
    """Write into the run directory what came of the command."""
    line, run = session.request.line, session.run
    if status == 2 and session.request.run is None and run.num_threads is None:
        (run.directory / "run.json").unlink()  # a mistake before the first step leaves no run
    elif line.trains:
        stopped = None if status else stop_reason(session.trainer)
        ending = {"best": session.best_score, "best_metrics": {}, **session.best_point, "stopped": stopped}
        run.finish(status, error, session.metrics, ending)
        if session.tested:
            tested = str(session.best_path or run.best_checkpoint)
            run.add_evaluation("test", start_time, line.typed, tested, status, session.results)
        log_end(session.trainer, status == 0)
    elif line.evaluates:
        run.add_evaluation(line.name, start_time, line.typed, str(session.request.ckpt_path), status, session.metrics)
    with contextlib.suppress(OSError):  # it can be made again
        write_page(run.directory, run.read())


def _guarded(session: Session) -> tuple[int, str | None]:
    """Carry out the command and turn what goes wrong into an exit code and a message."""
    line = session.request.line
    try:
        line.command.run(session)
        return 0, None
    except BaseException as error:
        from trainworks.cli.failure import explain, say_stopped

        session.request.failure = error
        with contextlib.suppress(Exception):  # of a validation Lightning ends the workers, not those of the training
            session.trainer.fit_loop.teardown()
        if isinstance(error, Stopped):
            return say_stopped(error, session.run.directory if line.trains else None), str(error)
        code, session.request.message = explain(error, session, _in_group())
        return code, session.request.message


def _leave_process_group() -> None:
    """End gloo's threads, which otherwise now and then abort a process that is exiting; for NCCL Lightning does it."""
    if _in_group() and torch.distributed.get_backend() == "gloo":
        torch.distributed.destroy_process_group()


def _in_group() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
