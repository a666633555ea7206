"""Whether other processes wanted the cores that a training ran on (Linux; nothing is known elsewhere)."""

import multiprocessing
import os
import time
from pathlib import Path

MIN_SHARE = 0.1  # of the time; less than that is not reported
BUSY_FIELDS = (0, 1, 2, 5, 6, 7)  # of a line of /proc/stat: user, nice, system, irq, softirq and steal


class Contention:
    """Compares the CPU time of this process and its loaders' workers with that of all processes, since it was made."""

    def __init__(self) -> None:
        self._begin = _sample()

    def share(self, num_processes: int = 1) -> float:
        """Return the share of the cores' time that others took; 0 if this process did not have to wait for a core.

        Each of `num_processes`, those of this training on this machine, is assumed to use as much as this one.
        """
        now = _sample()
        if now is None or self._begin is None:
            return 0.0
        seconds, used, stolen, own, waited = (after - before for after, before in zip(now, self._begin, strict=True))
        cores = len(os.sched_getaffinity(0))
        others = (used - own * num_processes) / max(seconds * cores, 1e-9)
        waiting = (waited + stolen / cores) / max(seconds, 1e-9)
        return min(others, 1.0) if min(others, waiting) > MIN_SHARE else 0.0


def _sample() -> tuple[float, ...] | None:
    """Return seconds: of the clock, of CPU used by all, stolen by other machines, used by us, and waited for a core."""
    family = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
    try:
        tick, allowed = os.sysconf("SC_CLK_TCK"), {f"cpu{core}" for core in os.sched_getaffinity(0)}
        lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
        cores = [[int(number) for number in numbers] for name, *numbers in lines if name in allowed]
        fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in family]
        waits = [int(path.read_text().split()[1]) for path in Path("/proc/self/task").glob("*/schedstat")]
    except (OSError, ValueError, IndexError, AttributeError):
        return None
    used = sum(core[field] for core in cores for field in BUSY_FIELDS)
    stolen = sum(core[BUSY_FIELDS[-1]] for core in cores)
    own = sum(int(ticks) for line in fields for ticks in line[11:15])  # with children that have ended
    return time.monotonic(), used / tick, stolen / tick, own / tick, sum(waits) / 1e9
