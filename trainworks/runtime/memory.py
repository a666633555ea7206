"""Memory of the process: when Python looks for garbage, and what glibc keeps. Nothing heavy is imported here."""

import contextlib
import gc
from collections.abc import Iterator

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h; see man 3 mallopt
MAX_BLOCK, MAX_TOTAL = 32 << 20, 1 << 30  # bytes


@contextlib.contextmanager
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


def keep_freed_memory() -> None:
    """Keep the memory of freed CPU tensors for the next ones (glibc; does nothing elsewhere).

    By default glibc may return it to the system in every step and ask for new pages, which the system clears first: up
    to half of a small network's step. Tensors above 32 MiB are still returned, and so is what exceeds 1 GiB in all.
    """
    import ctypes

    with contextlib.suppress(AttributeError, TypeError):  # another C library; Windows
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_TRIM_THRESHOLD, MAX_TOTAL)
        mallopt(M_MMAP_THRESHOLD, MAX_BLOCK)
