"""CPU cores that this process may use, and how its threads wait. Nothing heavy is imported here."""

import math
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

CGROUP_FILE, CGROUP_MOUNT = Path("/proc/self/cgroup"), "/sys/fs/cgroup"
SHORT_WAIT = {"GOMP_SPINCOUNT": "2000", "KMP_BLOCKTIME": "1"}  # GNU's OpenMP counts spins, LLVM's and Intel's ms


def shorten_waiting() -> None:
    """Let waiting threads sleep soon, so that they do not spin on a core that another process needs.

    OpenMP reads these variables when torch is imported; afterwards nothing is set. What the user has set is kept.
    """
    if "torch" not in sys.modules and not {*SHORT_WAIT, "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ.update(SHORT_WAIT)


def allowed_cores(num_processes: int = 1) -> int:
    """Return how many CPU cores this process may use, at least 1: by affinity, a container's quota and SLURM.

    They are shared by `num_processes` on this machine, such as one for each device.
    """
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shared = math.ceil(min(own, *(_quota(group) for group in control_groups("cpu"))))
    if (job := os.environ.get("SLURM_CPUS_ON_NODE", "")).isdigit():  # affinity may already give each process its share
        return max(min(shared, int(job) // num_processes), 1)
    return max(shared // num_processes, 1)


def control_groups(controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control groups, versions 1 and 2 (Linux, mostly in containers)."""
    yield Path(CGROUP_MOUNT)
    for line in content(CGROUP_FILE).splitlines():
        controllers, path = line.split(":", 2)[1:]
        if not controllers or controller in controllers.split(","):
            for mount in ("", "/unified") if not controllers else (f"/{controller}", f"/{controllers}"):
                folder = Path(CGROUP_MOUNT + mount + path)
                yield from (folder, *folder.parents)


def content(path: Path) -> str:
    """Return the text of a small file, or an empty text if it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _quota(group: Path) -> float:
    """Return how many cores a control group may keep busy, infinity where it has no limit."""
    text = content(group / "cpu.max")
    text = text or f"{content(group / 'cpu.cfs_quota_us')} {content(group / 'cpu.cfs_period_us')}"
    limited = re.fullmatch(r"(\d+) (\d+)", text)  # not "max" or -1
    return int(limited[1]) / int(limited[2]) if limited else math.inf
