"""CPU seconds of a command are those of all its processes, and waiting is none."""

import sys
from pathlib import Path

import pytest

from benchmarks.cpu_curve import main

SPIN = "import time\nwhile time.process_time() < 0.5: pass"
WRITES = f"""
import subprocess, sys, time
file = open(sys.argv[1], "w")
for value in (0.25, 0.5):
    subprocess.run([sys.executable, "-S", "-c", {SPIN!r}])
    print(*(["epoch,score"] if value == 0.25 else []), f"1,{{value}}", sep="\\n", file=file, flush=True)
    time.sleep(1.5)
"""


@pytest.mark.benchmarks
def test_a_command_is_measured_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    curve, table = str(tmp_path / "ours.csv"), str(tmp_path / "table.csv")
    with pytest.raises(SystemExit, match="0"):
        main(["run", curve, table, "score", sys.executable, "-S", "-c", WRITES, table])
    lines = [[float(part) for part in line.split(",")] for line in Path(curve).read_text().splitlines()[1:]]
    assert [value for _, value in lines] == [0.25, 0.5]
    assert 0.5 <= lines[0][0] < 1
    assert 1 <= lines[1][0] < 2
    assert "CPU seconds in all, exit code 0" in capsys.readouterr().out
    main(["draw", str(tmp_path / "picture.png"), curve])
    assert (tmp_path / "picture.png").stat().st_size > 1000
    with pytest.raises(SystemExit):
        main(["run", curve, table, "score", "true"])
    assert "table.csv must not exist before the command writes it" in capsys.readouterr().err
