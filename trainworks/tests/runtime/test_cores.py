"""Cores that this process may use: by affinity, a container's quota and SLURM; and how threads wait."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainworks.runtime import cores
from trainworks.runtime.cores import allowed_cores
from trainworks.tests.conftest import DIGITS, ROOT, unthreaded

SHOW = "from trainworks.runtime.cores import allowed_cores\nprint(allowed_cores())"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 16 cores whose control groups lie in a folder."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.setattr(cores, "CGROUP_MOUNT", str(tmp_path))
    monkeypatch.setattr(cores, "CGROUP_FILE", tmp_path / "groups")
    monkeypatch.delenv("SLURM_CPUS_ON_NODE", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("", {}, 16),
        ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3),  # of the groups around it, too
        ("0::/a", {"unified/a/cpu.max": "150000 100000"}, 2),  # half a core is used
        ("0::/elsewhere", {"cpu.max": "50000 100000"}, 1),  # in a container the path may be that of the machine
        ("3:cpuset:/a\n2:cpu,cpuacct:/a", {"cpu,cpuacct/a/cpu.cfs_quota_us": "400000"}, 4),
        ("1:cpu:/a\n0::/", {"cpu/a/cpu.cfs_quota_us": "-1"}, 16),
        ("0::/a", {"a/cpu.max": "3200000 100000"}, 16),
    ],
)
def test_a_containers_quota_limits(machine: Path, groups: str, files: dict[str, str], expected: int) -> None:
    (machine / "groups").write_text(groups)
    for name, text in files.items():
        (machine / name).parent.mkdir(parents=True, exist_ok=True)
        (machine / name).write_text(text + "\n")
        (machine / name).with_name("cpu.cfs_period_us").write_text("100000\n")
    assert allowed_cores() == expected


@pytest.mark.parametrize(
    ("job", "bound", "processes", "expected"),
    [(None, 16, 4, 4), ("8", 16, 1, 8), ("8", 16, 4, 2), ("8", 2, 4, 2), ("4", 16, 8, 1), (None, 2, 4, 1)],
)
def test_processes_share_what_their_job_has(
    machine: Path, monkeypatch: pytest.MonkeyPatch, job: str | None, bound: int, processes: int, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(bound)), raising=False)
    if job is not None:
        monkeypatch.setenv("SLURM_CPUS_ON_NODE", job)
    assert allowed_cores(processes) == expected


@pytest.fixture
def half_a_core() -> Iterator[Path]:
    """A control group whose processes may keep half a core busy, where the system allows to make one."""
    for folder, limits in (("cpu", {"cpu.cfs_quota_us": "50000"}), ("", {"cpu.max": "50000 100000"})):
        group = Path(cores.CGROUP_MOUNT, folder, f"test-{os.getpid()}")
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            for name, text in limits.items():
                (group / name).write_text(text)
            yield group
            return
        except OSError:
            continue
        finally:
            group.rmdir()
    pytest.skip("no control group can be made here")


def test_a_process_in_a_control_group_knows_its_quota(half_a_core: Path) -> None:
    enter = ["sh", "-c", f'echo $$ > {half_a_core}/cgroup.procs && exec "$@"', "sh"]
    done = subprocess.run([*enter, sys.executable, "-c", SHOW], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "1\n", done.stderr


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to cores")
def test_a_bound_process_counts_what_it_is_bound_to() -> None:
    code = f"import os\nos.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n{SHOW}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "1\n", done.stderr


COMMAND = (
    f"import os\nfrom trainworks.cli.main import main\nassert main(['--config', {DIGITS!r}, '--print_config']) == 0\n"
)
COMMAND += "print(*(f'{k}={v}' for k, v in os.environ.items() if k[:5] in ('GOMP_', 'KMP_B', 'OMP_W')))"


def test_how_threads_wait_is_set_before_torch_is_imported() -> None:
    environment = unthreaded() | {"OMP_DISPLAY_ENV": "verbose"}
    done = subprocess.run([sys.executable, "-c", COMMAND], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.splitlines()[-1].split()) == {"GOMP_SPINCOUNT=2000", "KMP_BLOCKTIME=1"}
    if "GOMP_SPINCOUNT" in done.stderr:  # GNU's OpenMP, which says what it read when torch was imported
        assert "GOMP_SPINCOUNT = '2000'" in done.stderr


@pytest.mark.parametrize("stated", ["OMP_WAIT_POLICY=active", "GOMP_SPINCOUNT=7", "KMP_BLOCKTIME=9"])
def test_what_the_user_set_wins(stated: str) -> None:
    code = (
        "import os\nfrom trainworks.runtime.cores import shorten_waiting\nshorten_waiting()\n"
        + COMMAND.splitlines()[-1]
    )
    environment = unthreaded() | dict([stated.split("=")])
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout == f"{stated}\n", done.stderr


def test_what_is_imported_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    cores.shorten_waiting()  # torch is there
    assert "GOMP_SPINCOUNT" not in os.environ
