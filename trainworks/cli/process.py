"""What a process that computes is set to: its messages, memory and threads."""

from collections.abc import Iterator
from contextlib import contextmanager

from trainworks.cli.console import silence_noise
from trainworks.runtime.memory import keep_freed_memory
from trainworks.runtime.threads import limited_threads, usual_threads


@contextmanager
def settled_process() -> Iterator[None]:
    """Hide messages that nobody can act on, keep freed memory, and take no more threads than there are cores."""
    silence_noise()
    keep_freed_memory()
    with limited_threads(usual_threads()):
        yield
