"""What ended a command, said in a few lines. Only loaded when something did."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

from lightning.pytorch.utilities.exceptions import MisconfigurationException  # type: ignore[attr-defined]
from lightning.pytorch.utilities.memory import is_oom_error

from trainworks.cli.builder import Session
from trainworks.cli.mistakes import describe
from trainworks.cli.parser import MISTAKES
from trainworks.errors import RunFailure, UsageError
from trainworks.models.misfit import refused_by
from trainworks.runs.files import shown_path
from trainworks.runs.run import NAME_VARIABLE
from trainworks.runtime.launch import is_main_process
from trainworks.runtime.shared_memory import MORE_ROOM
from trainworks.runtime.signals import Stopped

PARENT_SECONDS = 20  # that a process which failed waits for the one that started it
PEER_GONE = re.compile("Connection (closed|reset) by peer|Socket Timeout|Broken pipe")
OUT_OF_MEMORY = """out of memory ({}). Take fewer samples at a time and keep the batch by accumulating: halve
data.batch_size and set trainer.accumulate_grad_batches 2; python train.py find_batch_size --config C finds out what
fits. Or write trainer.precision bf16-mixed, smaller images, a smaller network"""
NO_SHARED_MEMORY = re.compile("DataLoader worker.*(allocate shared memory|Bus error)", re.DOTALL)
NO_ROOM = f"shared memory ran out, through which loader workers pass batches: {MORE_ROOM}, or take fewer workers"
LOADER_REMADE = "Lightning makes a loader anew by the names of its arguments: write DataLoader(dataset, batch_size=...)"


def explain(error: BaseException, session: Session, in_group: bool) -> tuple[int, str]:
    """Print what ended a command; return the exit code, 2 for a mistake or 1 for a failure, and the message.

    An error before the first batch is a wrong setting, and so is a first batch that does not fit; `in_group`, another
    process may have ended first.
    """
    message, code = describe(error), 1
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        message = "no space left on the disk; make room, then continue with --resume"
    elif is_oom_error(error):
        message = OUT_OF_MEMORY.format(message.splitlines()[0][:200])
    elif NO_SHARED_MEMORY.search(str(error)):
        message = NO_ROOM
    elif in_group and PEER_GONE.search(message) and not isinstance(error, RunFailure):
        message = "another process of this run ended; its own message says why"
    elif "can be passed to its parent's `" in message:
        message, code = LOADER_REMADE, 2
    elif not isinstance(error, RunFailure):
        # Lightning refuses some settings only after the first batch, such as a metric that nobody logs
        refused = isinstance(error, MisconfigurationException) or "conditioned on metric" in str(error)
        misfit = refused_by(session.model, error) if session.trainer.global_step == 0 else None
        setting = isinstance(error, MISTAKES) and (refused or not session.start_check.started)
        if not (isinstance(error, UsageError) or misfit or setting):
            if not session.request.raises:
                traceback.print_exception(error)
            return 1, message
        message, code = misfit or message, 2
    if not session.request.raises:
        print(f"error: {message}", file=sys.stderr)
    return code, message


def say_stopped(stopped: Stopped, directory: Path | None) -> int:
    """Say how to go on, ask SLURM to start the job again where it announced the end, and return the exit code.

    `directory` is that of a run that can be continued, None for a command that is just started again.
    """
    if not is_main_process():
        # of a process that Lightning started it would take any other code for a crash, and kill all others
        return 0 if NAME_VARIABLE in os.environ else stopped.exit_code
    if stopped.signum == getattr(signal, "SIGUSR1", None):
        job = os.environ.get("SLURM_ARRAY_JOB_ID")
        job = f"{job}_{os.environ['SLURM_ARRAY_TASK_ID']}" if job else os.environ["SLURM_JOB_ID"]
        done = subprocess.run(["scontrol", "requeue", job], check=False)
        print(f"job {job}: " + ("will be started again" if done.returncode == 0 else "scontrol could not requeue it"))
    if directory is not None:
        print(f"{stopped}; continue with: python train.py --resume {shown_path(directory)}")
    return stopped.exit_code


def outlast(parent: int) -> None:
    """Let the process that started this one end first: Lightning would kill it as soon as it sees this one fail."""
    limit = time.monotonic() + PARENT_SECONDS
    while os.getppid() == parent and time.monotonic() < limit:
        time.sleep(0.05)
