"""Whether others wanted the cores."""

import multiprocessing
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainworks.runtime.contention import Contention
from trainworks.tests.conftest import DIGITS, ROOT, unthreaded

pytestmark = pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="this system does not tell")
SPIN = [sys.executable, "-c", "while True: pass"]


@pytest.fixture
def busy() -> Iterator[None]:
    """Two busy loops for each core, which belong to this process."""
    others = [subprocess.Popen(SPIN) for _ in range(2 * len(os.sched_getaffinity(0)))]
    yield
    for other in others:
        other.kill()
        other.wait()


def spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


@pytest.mark.long
def test_what_others_take_is_told_from_what_workers_take() -> None:
    contention = Contention()
    workers = [multiprocessing.get_context("fork").Process(target=spin, args=(60,)) for _ in range(4)]
    for worker in workers:
        worker.start()
    spin(2)
    own = contention.share()
    for worker in workers:
        worker.kill()
        worker.join()
    contention = Contention()
    others = [subprocess.Popen(SPIN) for _ in range(4)]
    spin(2)
    taken = contention.share()
    for other in others:
        other.kill()
        other.wait()
    assert taken > own + 0.3  # beside other tests, which may take something of both
    assert taken <= 1.0


def test_nobody_waited_and_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    contention = Contention()
    time.sleep(0.2)
    assert contention.share() == 0.0  # others may have worked, but this process did not want to
    monkeypatch.delattr(os, "sched_getaffinity")  # as on other systems
    assert contention.share() == 0.0
    assert Contention().share() == 0.0


@pytest.mark.long
def test_the_closing_line_names_others_and_gives_no_other_advice(busy: None, tmp_path: Path) -> None:
    words = ("fit", "--config", DIGITS, "--callbacks.figures", "null", "--trainer.max_epochs", "6")
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *words], cwd=tmp_path, env=unthreaded(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = re.search(r"samples/s; the machine was busy: (\d+)% of the time went to others\n", done.stdout)
    assert found, done.stdout
    assert 30 < int(found[1]) <= 100
    assert "of the step" not in done.stdout
