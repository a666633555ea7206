import subprocess
import sys

import pytest

from trainworks.testing import ROOT


@pytest.mark.kills
def test_ten_kills_leave_no_trace_in_the_weights() -> None:
    """The campaign of benchmarks/kill.py, as it runs for hundreds of kills in a night."""
    command = [sys.executable, "-m", "benchmarks.kill", "--kills", "10", "--seed", "3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "; 0 runs ended otherwise than undisturbed" in done.stdout
    assert "DIFFERENT" not in done.stdout
