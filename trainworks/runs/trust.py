"""Whether checkpoints may hold objects, which can run code when they are read. Nothing heavy is imported here."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from trainworks.errors import UsageError

TRUSTED: ContextVar[bool | None] = ContextVar("trusted", default=None)  # None while nobody has said


@contextmanager
def trusting(granted: bool) -> Iterator[None]:
    """Grant it to a block, or refuse it: then no configuration and no file that is used within can grant it."""
    if granted and TRUSTED.get() is False:
        raise UsageError("no file can grant trust; type --trust true, or load_model(path, trust=True) in Python")
    token = TRUSTED.set(granted)
    try:
        yield
    finally:
        TRUSTED.reset(token)
