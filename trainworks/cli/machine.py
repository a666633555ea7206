"""A description of this machine for bug reports, without names of users and folders."""

import os
import platform
import re
import shutil
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from trainworks.root import ROOT
from trainworks.runs.run import PACKAGES
from trainworks.runtime.cores import SHORT_WAIT, allowed_cores, content, control_groups
from trainworks.runtime.devices import has_bf16
from trainworks.runtime.shared_memory import MORE_ROOM

GB = 2**30
DRIVER_VERSION = Path("/proc/driver/nvidia/version")
THREAD_VARIABLES = ("OMP_", "GOMP_", "MKL_", "KMP_BLOCKTIME")  # scikit-learn sets others by itself


def describe_machine() -> int:
    """Print versions, cores, memory, devices and extras, and a line of advice if something is wrong; return 0."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    shared, disk = (shutil.disk_usage(path) if Path(path).is_dir() else None for path in ("/dev/shm", "."))
    cores, threads = allowed_cores(), torch.get_num_threads()
    stated = {name: value for name, value in os.environ.items() if name.startswith(THREAD_VARIABLES)}
    own = " ".join(f"{name}={value}" for name, value in stated.items() if SHORT_WAIT.get(name) != value)
    bf16 = ", bfloat16" if has_bf16(torch.device("cpu")) else ""
    driver = re.search(r"Module\D+([\d.]+)", content(DRIVER_VERSION))
    gpus = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    extras = {name: all(map(_is_installed, needs)) for name, needs in project["optional-dependencies"].items()}
    rows = {
        "project": f"{project['name']} {project['version']}",
        "system": platform.platform(),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "cores": f"{cores} allowed of {os.cpu_count()}, {torch.backends.cpu.get_cpu_capability()}{bf16}",
        "threads": f"at most {threads}{f' ({own})' if own else ''}",
        "memory": ", ".join(_memory()),
        "/dev/shm": f"{shared.free / GB:.1f} of {shared.total / GB:.1f} GB free" if shared else "",
        "disk": f"{disk.free / GB:.0f} of {disk.total / GB:.0f} GB free" if disk else "",
        "gpu": ", ".join(f"{gpu.name} ({gpu.total_memory / GB:.0f} GB)" for gpu in gpus)
        or ("mps" if torch.backends.mps.is_available() else "none"),
        "cuda": f"of torch {torch.version.cuda or 'none'}, driver {driver[1] if driver else 'none'}",
        "extras": ", ".join(name for name, there in extras.items() if there) or "none",
        "not installed": ", ".join(name for name, there in extras.items() if not there),
    }
    width = max(map(len, rows))
    print("\n".join(f"{name:<{width}}  {text}" for name, text in rows.items() if text))
    if driver and not torch.cuda.is_available():
        needs = f"for CUDA {torch.version.cuda}: nvidia-smi prints the newest CUDA that the driver supports"
        print(f"\ntorch finds no GPU; it was built {needs if torch.version.cuda else 'without CUDA'}")
    elif threads > cores:
        print(f"\n{threads} threads on {cores} cores wait for each other: unset the variables that set them")
    elif shared and shared.total < GB:
        print(f"\n/dev/shm is small, and loader workers pass batches through it: {MORE_ROOM}")
    elif disk and disk.free < 2 * GB:
        print("\nthe disk is nearly full, and a checkpoint takes three times the size of the weights")
    return 0


def _is_installed(requirement: str) -> bool:
    name = re.match(r"[\w.-]+", requirement)
    try:
        return bool(name and version(name[0]))
    except PackageNotFoundError:
        return False


def _memory() -> Iterator[str]:
    """Yield the total and free memory, and the limit of a container, as far as the system reports them."""
    for name, size in re.findall(r"^Mem(Total|Available): +(\d+) kB", content(Path("/proc/meminfo")), re.MULTILINE):
        yield f"{int(size) / 2**20:.1f} GB{'' if name == 'Total' else ' free'}"
    names = ("memory.max", "memory.limit_in_bytes")
    limits = [text for group in control_groups("memory") for name in names if (text := content(group / name)).isdigit()]
    if limits and (limit := min(map(int, limits))) < 2**60:  # without a limit, cgroup v1 reports a larger number
        yield f"{limit / GB:.1f} GB allowed"
