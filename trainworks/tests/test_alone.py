"""The library stands by itself: what a cloner owns can all be deleted."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trainworks.root import ROOT

OWNED = ("src", "configs", "tests")
LEFT = (*OWNED, ".git", "logs", "data")  # below ROOT
MACHINES = (  # what they differ in: such tests are skipped beside a project, too
    *("CUDA", "PostgreSQL", "Chromium", "compiler", "bash", "control group", "C library", "cores", "memory"),
    *("could not import", "this system"),
)


@pytest.mark.long
def test_the_librarys_tests_need_nothing_of_a_project(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache", "*.egg-info")

    def left_out(folder: str, names: list[str]) -> set[str]:
        return {*ignored(folder, names), *(name for name in names if folder == str(ROOT) and name in LEFT)}

    copy = Path(shutil.copytree(ROOT, tmp_path / "copy", ignore=left_out))
    (copy / "trainworks/tests" / Path(__file__).name).unlink()  # this test itself
    pytest_there = (sys.executable, "-m", "pytest", "-q", "-rs")
    found = subprocess.run(
        (*pytest_there, "--collect-only", "-n", "0", "-m", "", "trainworks/tests"),
        cwd=copy,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stdout[-5000:]
    # those that go through most of the library; test_border.py reads what the others import
    parts = ("cli/commands/test_check.py", "cli/test_mistakes.py", "test_strangers.py", "test_first_mistakes.py")
    words = ("-n", "2", *(f"trainworks/tests/{part}" for part in parts))
    done = subprocess.run((*pytest_there, *words), cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:]
    skipped = re.findall(r"^SKIPPED \[\d+\] (.*)$", done.stdout, re.MULTILINE)
    assert [line for line in skipped if not any(reason in line for reason in MACHINES)] == []
    assert int(re.findall(r"(\d+) passed", done.stdout)[-1]) > 200
