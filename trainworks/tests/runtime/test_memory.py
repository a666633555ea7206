"""A process that trains keeps the memory of freed tensors."""

import platform
import subprocess
import sys

import pytest

from trainworks.tests.conftest import DIGITS, ROOT

FAULTS = """
import ctypes
import resource
import torch
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: count pages of 4 KiB, not of 2 MiB
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for size in range(1, 31):  # each larger than all that were freed before
    torch.ones(size << 18)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.long
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_a_command_keeps_freed_memory() -> None:
    command = f"from trainworks.cli.main import main\nassert main(['check', '--config', {DIGITS!r}]) == 0\n"
    given_back, kept = (
        int(subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True).stdout.split()[-1])
        for code in (FAULTS, command + FAULTS)
    )
    assert kept < given_back / 4  # 30 MiB against 465 MiB of new pages
