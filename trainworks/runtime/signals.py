"""Stopping by signals: after the first one, training stops where it can continue; the second ends it at once."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

TERMINAL_SIGNALS = [signal.SIGINT]  # a terminal sends them to the loaders' workers too
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # under nohup it is ignored
    TERMINAL_SIGNALS.append(signal.SIGHUP)
SIGNALS = [*TERMINAL_SIGNALS, signal.SIGTERM]
if "SLURM_JOB_ID" in os.environ and hasattr(signal, "SIGUSR1"):
    SIGNALS.append(signal.SIGUSR1)  # SLURM's notice that the job will be preempted; see docs/reliability.md
WORKER_SECONDS = 30  # how long a worker goes on after SIGTERM where no `StopRequest` ends it


class Stopped(BaseException):
    """The run was asked to stop, by the signal `signum`; `exit_code` is what a shell reports for it."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum, self.exit_code = signum, 128 + signum


class StopRequest:
    """Handles signals, and remembers the first one.

    Attributes:
        signum: The signal that came, 0 if none did.
        deferred: Whether the training checks `signum` and will stop by itself; if not, a signal raises `Stopped`
            wherever the program is.
        ends_workers: Whether the loaders' workers are ended with what is stopped, so that they may outlast a signal.
    """

    def __init__(self) -> None:
        self.signum = 0
        self.deferred = self.ends_workers = False
        self._process = os.getpid()

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if os.getpid() != self._process:  # a forked worker, which its parent stops
            if signum not in TERMINAL_SIGNALS:
                _die(signum)
            return
        if self.signum:
            _die(signum)
        self.signum = signum
        if not self.deferred:
            raise Stopped(signum)
        text = f"\n{signal.Signals(signum).name}: finishing the step; again to stop at once\n"
        with contextlib.suppress(OSError):  # the terminal may have gone
            os.write(2, text.encode())  # print fails if this signal has interrupted a print

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handle the signals, and afterwards put the previous handlers back."""
        previous, self.signum = self.install(), 0
        self.ends_workers = bool(previous) and hasattr(signal, "SIGCHLD")
        try:
            yield
        finally:
            if self.ends_workers:
                _end_workers()
            self.ends_workers = False
            for signum, handler in previous.items():
                signal.signal(signum, handler)

    def install(self) -> dict[Any, Any]:
        """Handle the signals from now on; return the previous handlers."""
        self._process = os.getpid()
        if threading.current_thread() is not threading.main_thread():
            return {}
        return {signum: signal.signal(signum, self) for signum in SIGNALS}


STOP = StopRequest()


@contextmanager
def interrupts_leave() -> Iterator[None]:
    """Let Ctrl-C end the process at once: a library that is being imported may swallow a KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, lambda signum, frame: leave(128 + signum))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def leave(code: int) -> None:
    """End the process at once: Python's own cleanup of all that was imported would take a second and 120 MB."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, RuntimeError):  # its reader may be gone, or a write was interrupted
            stream.flush()
    os._exit(code)


def outlast_signals(worker: int, is_ended: bool = False) -> None:
    """Let a loader's worker go on after a signal, so that the step can be finished.

    A terminal sends Ctrl-C to workers too, and a scheduler SIGTERM. A `StopRequest` ends them, or else the alarm does.
    """
    for signum in TERMINAL_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, lambda signum, frame: None if is_ended else signal.alarm(WORKER_SECONDS))


def start_fork_server() -> None:
    """Start the process from which Python 3.14 forks workers, so that it outlasts signals; they would end with it."""
    if multiprocessing.get_start_method() == "forkserver":
        from multiprocessing.forkserver import ensure_running

        previous = {signum: signal.signal(signum, signal.SIG_IGN) for signum in SIGNALS}  # a new program inherits it
        ensure_running()
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def _end_workers() -> None:
    """End the loaders' workers that are left, as by an error in a loop; Python would wait for them at its end."""
    if workers := [child for child in multiprocessing.active_children() if child.daemon]:
        previous = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch takes the end of a worker for an error
        for child in workers:
            child.kill()
            child.join()
        signal.signal(signal.SIGCHLD, previous)


def _die(signum: int) -> None:
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)
