"""One command from start to end: the run directory's records, what is printed, and the exit code."""

import contextlib
import errno
import gc
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.exceptions import MisconfigurationException  # type: ignore[attr-defined]
from lightning.pytorch.utilities.memory import is_oom_error

from src.callbacks.last_checkpoint import device_name
from src.callbacks.run_notes import note_end
from src.cli.builder import CLI
from src.cli.command_line import CommandLine
from src.cli.commands.check import check
from src.cli.commands.merge import merge
from src.cli.console import Console, silence_noise
from src.cli.parser import MISTAKES, PEER_GONE, describe
from src.cli.request import EVALUATING, Request
from src.datamodules.base import BaseDataModule
from src.errors import RunFailure, UsageError
from src.models.base import BaseModule
from src.runs.run import NAME_VARIABLE
from src.runtime.launch import is_main_process
from src.runtime.memory import keep_freed_memory
from src.runtime.signals import STOP, Stopped

OUT_OF_MEMORY = """out of memory ({}). Take fewer samples at a time and keep the batch by accumulating: halve
data.batch_size and set trainer.accumulate_grad_batches 2; python train.py find_batch_size --config C finds out what
fits. Or write trainer.precision bf16-mixed, smaller images, a smaller network"""
SHARED_STORE = """torchrun may hang when it starts the group again, since all attempts share one store (pytorch issue
167288); to prevent it, start torchrun with TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"""
OWN_LOADERS = "{} brings its own loaders: a run that is stopped can go on, but not bit by bit as it would have"
OWN_MEANS = "what {} logs of this epoch's training covers only the batches from here on"
PARENT_SECONDS = 20  # that a process which failed waits for the one that started it
NO_SPACE = "no space left on the disk; make room, then continue with --resume"


def run(line: CommandLine, request: Request, start: float) -> int:
    """Build and run what was asked for, and keep the run directory's records.

    Args:
        line: What was typed.
        request: The configuration and the run it belongs to.
        start: When the process began, in seconds since 1970.

    Returns:
        The exit code: 0, 1 for a failure, 2 for a mistake, 128 + the signal's number if one stopped the run.

    Raises:
        UsageError: If the configuration is wrong, before a run directory exists.
    """
    silence_noise()
    keep_freed_memory()
    if request.command in ("check", "merge"):
        _collect_garbage()
        return check(request.config) if request.command == "check" else merge(Path(str(request.ckpt_path)))
    with STOP.installed():
        try:
            return _run(line, request, start)
        except Stopped as stopped:  # while it was built: nothing is lost
            return stopped.exit_code
        except OSError as error:
            if not _is_full(error):
                raise
            print(f"error: {NO_SPACE}", file=sys.stderr)
            return 1


def _run(line: CommandLine, request: Request, start: float) -> int:
    console = Console()
    with console.capture(), contextlib.ExitStack() as stack:
        cli = CLI(line, request)
        _collect_garbage()
        stack.callback(cli.run.unlock)
        stack.callback(_leave_process_group)
        if request.command == "find_batch_size":
            stack.callback(shutil.rmtree, cli.run.directory, ignore_errors=True)
        if not is_main_process() or request.command == "find_batch_size":
            status, _ = _guarded(cli)
            if status and not is_main_process() and NAME_VARIABLE in os.environ:
                _leave_process_group()  # so the others learn of it
                _outlast(os.getppid())
            return status
        if request.run is None:
            (cli.run.directory / "config.yaml").write_text(cli.config_text, encoding="utf-8")
            cli.run.start(start, _hardware(cli.trainer))
        elif request.trains:
            cli.run.start_again(start, str(cli.start.path) if cli.start.path else None)
        stack.enter_context(console.copy_to(cli.run.directory / "train.log"))
        print(_headline(cli))
        status, error = _guarded(cli)
        if request.trains:
            cli.run.finish(status, error, cli.metrics, cli.best_score)
            note_end(cli.trainer, status == 0)
        elif request.command in EVALUATING:
            cli.run.add_evaluation(start, str(request.ckpt_path), status, cli.metrics)
        if status == 0 and request.command != "replay":
            print(_summary(cli, time.time() - start))
        return status


def _collect_garbage() -> None:
    """Look for garbage from now on, which train.py had stopped, but not in what is there already: that stays."""
    gc.freeze()
    gc.enable()


def _is_mistake(error: BaseException) -> bool:
    """Whether Lightning refuses a setting, even if it does so after the first batch, as for a metric nobody logs."""
    return isinstance(error, MisconfigurationException) or "conditioned on metric" in str(error)


def _is_full(error: BaseException) -> bool:
    """Whether the disk has no room left."""
    return isinstance(error, OSError) and error.errno == errno.ENOSPC


def _leave_process_group() -> None:
    """End gloo's threads, which otherwise now and then abort a process that is exiting; for NCCL Lightning does it."""
    if _in_group() and torch.distributed.get_backend() == "gloo":
        torch.distributed.destroy_process_group()


def _outlast(parent: int) -> None:
    """Let the process that started this one end first: Lightning would kill it as soon as it sees this one fail."""
    limit = time.monotonic() + PARENT_SECONDS
    while os.getppid() == parent and time.monotonic() < limit:
        time.sleep(0.05)


def _in_group() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _guarded(cli: CLI) -> tuple[int, str | None]:
    """Run the command and turn what goes wrong into an exit code and a message."""
    try:
        return cli.execute(), None
    except Stopped as stopped:
        return _stop(cli, stopped), str(stopped)
    except BaseException as error:
        message = describe(error)
        full, out_of_memory = _is_full(error), is_oom_error(error)
        if full:
            message = NO_SPACE
        elif out_of_memory:
            message = OUT_OF_MEMORY.format(message.splitlines()[0][:200])
        if full or out_of_memory or isinstance(error, RunFailure):
            print(f"error: {message}", file=sys.stderr)
            return 1, message
        if _in_group() and PEER_GONE.search(message):
            print("error: another process of this run ended; its own message says why", file=sys.stderr)
            return 1, message
        late = cli.start_check.started and not _is_mistake(error)
        if not isinstance(error, UsageError) and (late or not isinstance(error, MISTAKES)):
            traceback.print_exc()
            return 1, message
    print(f"error: {message}", file=sys.stderr)
    return 2, message


def _stop(cli: CLI, stopped: Stopped) -> int:
    """Say how to go on, ask SLURM to start the job again where it announced the end, and return the exit code."""
    if not is_main_process():
        # of a process that Lightning started it would take any other code for a crash, and kill all others
        return 0 if NAME_VARIABLE in os.environ else stopped.exit_code
    if stopped.signum == getattr(signal, "SIGUSR1", None):
        job = os.environ.get("SLURM_ARRAY_JOB_ID")
        job = f"{job}_{os.environ['SLURM_ARRAY_TASK_ID']}" if job else os.environ["SLURM_JOB_ID"]
        done = subprocess.run(["scontrol", "requeue", job], check=False)
        print(f"job {job}: " + ("will be started again" if done.returncode == 0 else "scontrol could not requeue it"))
    if cli.request.trains:
        print(f"{stopped}; continue with: python train.py --resume {_shown_path(str(cli.run.directory))}")
    return stopped.exit_code


def _hardware(trainer: Trainer) -> dict[str, Any]:
    return {"accelerator": device_name(trainer), "num_devices": trainer.num_devices, "num_nodes": trainer.num_nodes}


def _headline(cli: CLI) -> str:
    """Say where and what, before it starts."""
    if not cli.request.trains:
        return f"{cli.request.command}: {cli.request.ckpt_path or cli.start.path or 'from the beginning'}"
    device, processes = cli.trainer.strategy.root_device.type, cli.trainer.world_size
    net = type(getattr(cli.model, "net", cli.model)).__name__
    size = sum(parameter.numel() for parameter in cli.model.parameters())
    where = device if processes == 1 else f"{processes} x {device}"
    begin = f"{cli.run.directory}: {net}, {size:,} parameters, {where}, seed {cli.config.seed_everything}"
    own = type(cli.datamodule or cli.model).__name__
    inexact = [] if isinstance(cli.datamodule, BaseDataModule) else [OWN_LOADERS.format(own)]
    return "\n".join([begin, *inexact, *_remarks(cli)])


def _remarks(cli: CLI) -> list[str]:
    """Say from where a run continues, and what will not be as it would have been."""
    if cli.request.run is None:
        shared = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        restarts = os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"
        return [SHARED_STORE] if shared and restarts else []
    start = cli.start
    if start.path is None:
        return ["no checkpoint yet: the run starts from the beginning"]
    remarks = [f"continues from {_shown_path(str(start.path))}, step {start.step:,}", *cli.remarks]
    if start.within_epoch and not isinstance(cli.model, BaseModule):
        remarks.append(OWN_MEANS.format(type(cli.model).__name__))
    if not start.exact:
        remarks.append("this checkpoint was saved within an epoch's end: the result will not be bit by bit the same")
    if start.world_size != cli.trainer.world_size:
        saved, now = start.world_size, cli.trainer.world_size
        remarks.append(f"{saved} processes saved it, {now} continue: the result will not be bit by bit the same")
    if start.device not in ("", device_name(cli.trainer)):
        remarks.append(f"it was saved on {start.device}: the result will not be bit by bit the same")
    return remarks


def _summary(cli: CLI, seconds: float) -> str:
    """Return the closing lines: metrics, checkpoint, run directory, time, and what to type next."""
    lines = [(name, f"{value:.4f}") for name, value in cli.results.items()]
    if skipped := getattr(cli.datamodule, "skipped", None):
        lines.append(("skipped images", str(len(skipped))))
    if cli.request.trains:
        best = _shown_path(cli.best_path) if cli.best_path else "none was kept; these are the final weights"
        lines.append(("best checkpoint", best))
    lines += [("run directory", _shown_path(str(cli.run.directory))), ("seconds", f"{seconds:.1f}")]
    width = max(len(name) for name, _ in lines)
    table = "\n".join(f"{name:<{width}}  {value}" for name, value in lines)
    return f"\n{table}\n\ntensorboard --logdir {_shown_path(str(cli.run.directory.parent))}"


def _shown_path(path: str) -> str:
    """Shorten a path below the current folder, so that it can be copied into the next command."""
    return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path
