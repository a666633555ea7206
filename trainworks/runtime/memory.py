"""Memory of the process."""

import contextlib
import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
MAX_BLOCK, MAX_TOTAL = 32 << 20, 1 << 30  # bytes


def keep_freed_memory() -> None:
    """Keep the memory of freed CPU tensors for the next ones (glibc; does nothing elsewhere).

    By default glibc may return it to the system in every step and ask for new pages, which the system clears first: up
    to half of a small network's step. Tensors above 32 MiB are still returned, and so is what exceeds 1 GiB in all.
    `man 3 mallopt` explains both limits.
    """
    with contextlib.suppress(AttributeError, TypeError):  # another C library; Windows
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_TRIM_THRESHOLD, MAX_TOTAL)
        mallopt(M_MMAP_THRESHOLD, MAX_BLOCK)
