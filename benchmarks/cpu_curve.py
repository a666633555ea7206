"""What a training has reached after how many CPU seconds, for any program that adds a line to a CSV file each epoch.

python -m benchmarks.cpu_curve run CURVE.csv TABLE COLUMN COMMAND ...     COLUMN: the number in TABLE that counts
python -m benchmarks.cpu_curve draw PICTURE.png CURVE.csv ... [--label Y]  a curve is named after its file

CPU seconds are user and system time of the command and all processes that it starts; other jobs of the machine hardly
change them, while they change the time on the clock. They are read when a line appears, twice a second. Linux only.
"""

import argparse
import csv
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from trainworks.models.colors import color_of

TICKS = os.sysconf("SC_CLK_TCK")
SHOWN = (5, 1, 3, 6, 2)  # blue, orange, green, red and sky of Okabe and Ito


def main() -> None:
    """Measure, or draw what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ways = parser.add_subparsers(required=True, dest="way")
    run = ways.add_parser("run")
    run.add_argument("curve", type=Path)
    run.add_argument("table", type=Path)
    run.add_argument("column")
    run.add_argument("command", nargs=argparse.REMAINDER)
    draw = ways.add_parser("draw")
    draw.add_argument("picture", type=Path)
    draw.add_argument("curves", type=Path, nargs="+")
    draw.add_argument("--label", default="mAP (0.50 to 0.95) of the validation scenes")
    given = parser.parse_args()
    if given.way == "draw":
        return draw_curves(given.picture, given.curves, given.label)
    sys.exit(measure(given.curve, given.table, given.column, given.command))


def measure(curve: Path, table: Path, column: str, command: list[str]) -> int:
    """Run the command and write a line `seconds,value` for each of its table; return its exit code."""
    lines: list[tuple[float, float]] = []
    with subprocess.Popen(command) as process:
        while process.poll() is None:
            time.sleep(0.5)
            values = read(table, column)
            lines += [(used(process.pid), value) for value in values[len(lines) :]]
            curve.write_text("seconds,value\n" + "".join(f"{a:.2f},{b:.5f}\n" for a, b in lines))
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{spent.ru_utime + spent.ru_stime:.1f} CPU seconds in all, exit code {process.returncode}")
    return process.returncode


def read(table: Path, column: str) -> list[float]:
    """Return the column's numbers of the complete lines so far."""
    if not table.is_file():
        return []
    with table.open(newline="", encoding="utf-8") as file:
        return [float(row[column]) for row in csv.DictReader(file) if row.get(column)]


def used(root: int) -> float:
    """Return the CPU seconds of a process and those below it, those that ended included."""
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
    return sum(rows[pid][1] for pid in tree if pid in rows) / TICKS


def draw_curves(picture: Path, curves: list[Path], label: str) -> None:
    """Draw the value over the CPU seconds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    for number, path in zip(SHOWN, curves, strict=False):
        colour = [part / 255 for part in color_of(number)]
        with path.open(encoding="utf-8") as file:
            points = [(float(row["seconds"]), float(row["value"])) for row in csv.DictReader(file)]
        axes.plot(*zip(*points, strict=True), color=colour, label=path.stem.replace("_", " "), marker=".", markersize=4)
    axes.set(xlabel="CPU seconds", ylabel=label, ylim=(0, 1))
    axes.legend(loc="lower right")
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main()
