"""Memory of the whole process."""

import contextlib
import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
LARGEST_KEPT, MOST_KEPT = 32 << 20, 1 << 30  # bytes


def keep_freed_memory() -> None:
    """Let the process keep the memory of freed tensors on the CPU for the next ones (glibc; does nothing elsewhere).

    By default glibc may give it back in every step and ask for new pages, which the system clears first: up to half
    of a small network's step. Tensors above 32 MiB are given back as before, and so is what exceeds 1 GiB.
    `man 3 mallopt` has both limits.
    """
    with contextlib.suppress(AttributeError, TypeError):  # another C library; Windows
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_TRIM_THRESHOLD, MOST_KEPT)
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
