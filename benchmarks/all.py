"""Run all benchmarks and write the table of docs/benchmarks.md: python -m benchmarks.all [name ...] [--root DIR].

Each runs in a process of its own. The rows of those that ran replace their own, or the whole table if all ran; with
--quick nothing is written, unless --output says where.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.ours import ROOT
from benchmarks.pairs import ROWS

# these take --quick and --root
OWN = ("tax", "epoch", "start", "memory", "growth", "accuracy", "search", "neighbours", "boxes", "mask_folder")
OTHERS = ("switches", "data", "monitoring", "reliability", "ddp", "gpu")
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
COLUMNS = {"what": "What", "result": "Median", "spread": "Range", "goal": "Goal", "met": "Met", "details": "Details"}


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join([*OWN, *OTHERS]))
    parser.add_argument("--root", help="folder that holds the real Fashion-MNIST; without it images are made up")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, of those that have them")
    parser.add_argument("--output", help="document whose table is replaced")
    options = parser.parse_args()
    names = options.names or [*OWN, *(() if options.quick else OTHERS)]
    output = options.output or (None if options.quick else str(ROOT / "docs/benchmarks.md"))
    if output:  # a mistake is found before hours are spent
        replaced(Path(output).read_text(encoding="utf-8"), {})
    rows = {name: run(name, options) for name in names if (ROOT / "benchmarks" / f"{name}.py").is_file()}
    if output:
        text = replaced(Path(output).read_text(encoding="utf-8"), rows)
        Path(output).write_text(text, encoding="utf-8")


def run(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Run one benchmark and return its rows; a failure is a row too."""
    words = (["--quick"] if options.quick else []) + (["--root", options.root] if options.root else [])
    print(f"== {name}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "rows.jsonl")
        command = [sys.executable, "-m", f"benchmarks.{name}", *(words if name in OWN else [])]
        code = subprocess.run(command, cwd=ROOT, env={**os.environ, ROWS: str(file)}).returncode
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []
    return rows + ([{"what": "the benchmark failed", "result": f"exit code {code}"}] if code else [])


def replaced(text: str, rows: dict[str, list[dict[str, Any]]]) -> str:
    """Return a document with the sections of these benchmarks replaced, and all others as they were.

    Args:
        text: Holds the two marker comments.
        rows: Results by benchmark.

    Raises:
        ValueError: If a marker is missing.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"the document must hold each of the lines {BEGIN} and {END} once")
    before, _, rest = text.partition(BEGIN)
    old, _, after = rest.partition(END)
    sections = {part.partition("\n")[0].strip(): part.strip() for part in old.split("\n### ")[1:]}
    sections |= {name: section(name, values) for name, values in rows.items()}
    order = [name for name in (*OWN, *OTHERS) if name in sections]
    body = "\n\n".join(f"### {sections[name]}" for name in order)
    return f"{before}{BEGIN}\n\n{body}\n\n{END}{after}"


def section(name: str, rows: list[dict[str, Any]]) -> str:
    """Return the heading, the circumstances and the table of one benchmark."""
    lines = [name, "", circumstances(name), ""]
    if not rows:
        return "\n".join([*lines, "No results: see what the command says."])
    lines += [f"| {' | '.join(COLUMNS.values())} |", f"|{' --- |' * len(COLUMNS)}"]
    lines += [f"| {' | '.join(str(row.get(key) or '').replace('|', '/') for key in COLUMNS)} |" for row in rows]
    return "\n".join(lines)


def circumstances(name: str) -> str:
    """Say when, where and with what it was measured."""
    packages = ("torch", "torchvision", "lightning", "torchmetrics")
    versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    kind = f"{model or platform.processor() or platform.machine()} ({torch.backends.cpu.get_cpu_capability()})"
    processor = f"{os.cpu_count()} x {kind}"
    threads = os.environ.get("OMP_NUM_THREADS", str(torch.get_num_threads()))
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    python = platform.python_version()
    return f"`python -m benchmarks.{name}`, {day}, {processor}, {threads} threads, Python {python}, {versions}"


if __name__ == "__main__":
    main()
