"""Stopping: after the first signal training stops where it can be continued, the second does not wait."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

OF_TERMINAL = [signal.SIGINT]  # it sends them to a run's workers too
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # under nohup it is ignored
    OF_TERMINAL.append(signal.SIGHUP)
SIGNALS = [*OF_TERMINAL, signal.SIGTERM]
if "SLURM_JOB_ID" in os.environ and hasattr(signal, "SIGUSR1"):
    SIGNALS.append(signal.SIGUSR1)  # SLURM's notice that the job will be preempted; see docs/reliability.md
WORKER_SECONDS = 30  # that a loader's worker lives on after SIGTERM


class Stopped(BaseException):
    """The run was asked to stop.

    Args:
        signum: The signal that asked.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum

    @property
    def exit_code(self) -> int:
        """What a shell reports of a process that this signal ended."""
        return 128 + self.signum


class StopRequest:
    """What was asked for so far.

    Attributes:
        signum: The signal that came, 0 if none did.
        deferred: Whether somebody looks at `signum` now and then and will stop in good order; if not, the signal
            raises `Stopped` where the program just is.
    """

    def __init__(self) -> None:
        self.signum = 0
        self.deferred = False
        self._process = os.getpid()

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if os.getpid() != self._process:  # a worker that was forked: its parent decides
            if signum not in OF_TERMINAL:
                _die(signum)
            return
        if self.signum:
            _die(signum)
        self.signum = signum
        if not self.deferred:
            raise Stopped(signum)
        text = f"\n{signal.Signals(signum).name}: finishing the step; again to stop at once\n"
        with contextlib.suppress(OSError):  # the terminal may have gone
            os.write(2, text.encode())  # print may have been interrupted by this very signal, and then refuses

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals, and afterwards leave them as they were."""
        previous, self.signum = self.install(), 0
        try:
            yield
        finally:
            for signum, handler in previous.items():
                signal.signal(signum, handler)

    def install(self) -> dict[Any, Any]:
        """Handle the signals from now on; return who did before."""
        self._process = os.getpid()
        if threading.current_thread() is not threading.main_thread():
            return {}
        return {signum: signal.signal(signum, self) for signum in SIGNALS}


STOP = StopRequest()


@contextmanager
def interrupts_leave() -> Iterator[None]:
    """Let Ctrl-C end the process where it is: a library that is being imported may swallow a KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, lambda signum, frame: leave(128 + signum))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def leave(code: int) -> None:
    """End the process at once: to take all that was imported apart again would take a second and 120 MB."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, RuntimeError):  # nobody may read it any more, or it was being written to
            stream.flush()
    os._exit(code)


def outlast_signals(worker: int) -> None:
    """Let a loader's worker go on for a while, so that the step can be finished.

    A terminal sends Ctrl-C to it too, a scheduler SIGTERM. Its parent ends it in good order, or else the alarm does.
    """
    for signum in OF_TERMINAL:
        signal.signal(signum, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, _die_later)


def _die_later(signum: int, frame: FrameType | None) -> None:
    signal.alarm(WORKER_SECONDS)


def _die(signum: int) -> None:
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)
