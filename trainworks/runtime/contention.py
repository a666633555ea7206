"""Whether others wanted the cores that a training ran on (Linux; nothing is known elsewhere)."""

import multiprocessing
import os
import time
from pathlib import Path

LEAST = 0.1  # share of the time that others must take, and that this process must wait for them
BUSY = (0, 1, 2, 5, 6, 7)  # places of user, nice, system, irq, softirq and steal in a line of /proc/stat


class Contention:
    """Compares what this process and its loaders' workers used of the cores, since now, with what was used at all."""

    def __init__(self) -> None:
        self._begin = _sample()

    def share(self, num_processes: int = 1) -> float:
        """Return the share of the cores' time that went to others; 0 if this process did not have to wait for it.

        Args:
            num_processes: Processes such as this one, each of which is taken to use as much.
        """
        now = _sample()
        if now is None or self._begin is None:
            return 0.0
        seconds, used, stolen, own, waited = (after - before for after, before in zip(now, self._begin, strict=True))
        cores = len(os.sched_getaffinity(0))
        others = (used - own * num_processes) / max(seconds * cores, 1e-9)
        return min(others, 1.0) if min(others, (waited + stolen / cores) / max(seconds, 1e-9)) > LEAST else 0.0


def _sample() -> tuple[float, ...] | None:
    """Return seconds: of the clock, used of the cores, stolen by other machines, used by us, waited for a core."""
    family = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
    try:
        tick, wanted = os.sysconf("SC_CLK_TCK"), {f"cpu{core}" for core in os.sched_getaffinity(0)}
        lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
        cores = [[int(number) for number in numbers] for name, *numbers in lines if name in wanted]
        fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in family]
        waits = [int(path.read_text().split()[1]) for path in Path("/proc/self/task").glob("*/schedstat")]
    except (OSError, ValueError, IndexError, AttributeError):
        return None
    used, stolen = sum(core[place] for core in cores for place in BUSY), sum(core[7] for core in cores)
    own = sum(int(ticks) for line in fields for ticks in line[11:15])  # and of children that have ended
    return time.monotonic(), used / tick, stolen / tick, own / tick, sum(waits) / 1e9
