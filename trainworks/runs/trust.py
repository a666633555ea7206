"""Whether checkpoints may hold objects, which can run code. Nothing heavy is imported here."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from trainworks.errors import UsageError

_granted: ContextVar[bool | None] = ContextVar("granted", default=None)  # None: nobody has said


def is_trusted() -> bool:
    """Whether checkpoints may hold objects here."""
    return bool(_granted.get())


@contextmanager
def trusting(granted: bool) -> Iterator[None]:
    """Grant it to a block of code, or refuse it: then no configuration and no file that is used in it can grant it."""
    if granted and _granted.get() is False:
        raise UsageError("no file can grant trust: type --trust true, or load_model(path, trust=True)")
    token = _granted.set(granted)
    try:
        yield
    finally:
        _granted.reset(token)
