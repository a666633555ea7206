"""When Python looks for garbage. Nothing heavy is imported here."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """Collect no garbage until `collect_from_now` or the end: nearly all that is made until a training begins stays.

    A look for garbage among all that is imported takes a second.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.enable()


def collect_from_now() -> None:
    """Collect garbage from now on, but do not look at what is there already."""
    gc.freeze()
    gc.enable()
