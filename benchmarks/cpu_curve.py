"""What a training has reached after how many CPU seconds, for any program that adds a line to a CSV file each epoch.

python -m benchmarks.cpu_curve run CURVE.csv TABLE COLUMN COMMAND ...  COLUMN: the number in TABLE that counts
python -m benchmarks.cpu_curve draw PICTURE.png CURVE.csv ...          a curve is named after its file

CPU seconds are user and system time of the command and all that it starts, read when a line appears. Linux only.
"""

import argparse
import csv
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from matplotlib.figure import Figure

from trainworks.models.colors import hex_color

SHOWN = (5, 1, 3, 6, 2)  # blue, orange, green, red and sky of Okabe and Ito


def main(words: list[str] | None = None) -> None:
    """Measure, or draw what was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cpu_curve")
    ways = parser.add_subparsers(required=True, dest="way")
    run, draw = ways.add_parser("run"), ways.add_parser("draw")
    run.add_argument("curve", type=Path)
    run.add_argument("table", type=Path)
    run.add_argument("column")
    run.add_argument("command", nargs=argparse.REMAINDER)
    draw.add_argument("picture", type=Path)
    draw.add_argument("curves", type=Path, nargs="+")
    given = parser.parse_args(words)
    if given.way == "draw":
        return draw_curves(given.picture, given.curves)
    if given.table.exists():
        parser.error(f"{given.table} must not exist before the command writes it")
    sys.exit(measure(given.curve, given.table, given.column, given.command))


def measure(curve: Path, table: Path, column: str, command: list[str]) -> int:
    """Run the command and write a line `seconds,value` for each of its table; return its exit code."""
    curve.write_text("seconds,value\n")
    seen, running = 0, True
    with subprocess.Popen(command) as process:
        while running:
            time.sleep(0.5)
            running = process.poll() is None
            lines = table.read_text(encoding="utf-8").splitlines() if table.is_file() else []
            values = [float(row[column]) for row in csv.DictReader(lines) if row.get(column)]
            seconds = used(process.pid) if running else sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
            with curve.open("a") as file:
                file.writelines(f"{seconds:.2f},{value:.5f}\n" for value in values[seen:])
            seen = len(values)
    print(f"{seconds:.1f} CPU seconds in all, exit code {process.returncode}")
    return process.returncode


def used(root: int) -> float:
    """Return the CPU seconds of a process and of those below it, with those that have ended."""
    rows: dict[int, tuple[int, int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        rows[int(stat.parent.name)] = int(words[1]), sum(map(int, words[11:15]))
    tree = {root}
    while more := {pid for pid, (parent, _) in rows.items() if parent in tree} - tree:
        tree |= more
    return sum(rows[pid][1] for pid in tree & rows.keys()) / os.sysconf("SC_CLK_TCK")


def draw_curves(picture: Path, curves: list[Path]) -> None:
    """Draw the value over the CPU seconds."""
    axes = (figure := Figure(figsize=(6.4, 3.6), layout="constrained")).subplots()
    for number, path in zip(SHOWN, curves, strict=False):
        points = [map(float, line.split(",")) for line in path.read_text().splitlines()[1:]]
        axes.plot(*zip(*points, strict=True), ".-", color=hex_color(number), label=path.stem)
    axes.set(xlabel="CPU seconds, user and system", ylabel="validation mAP (0.50 to 0.95)", xlim=(0, None), ylim=(0, 1))
    axes.legend(loc="lower right")
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main()
