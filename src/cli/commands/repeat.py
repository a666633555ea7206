"""python train.py repeat --config C --num_folds 5: train over all folds, or several seeds, and average."""

import csv
import json
import statistics
import subprocess
import sys
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any

from src.cli.command_line import CommandLine
from src.cli.request import Request, log_root
from src.errors import UsageError

TRAIN = Path(__file__).parents[3] / "train.py"
SHOWN = ("best/", "test")  # the metrics in the table, and the names with which a module of any kind begins them


def repeat(line: CommandLine, request: Request) -> int:
    """Train once for each fold and seed, each in a process and a run directory of its own, then print a table.

    A run that finished under the same name before is not repeated, so an interrupted series goes on where it was.

    Args:
        line: What was typed; all but the numbers of folds and seeds goes on to every run.
        request: The merged configuration and the numbers.

    Returns:
        The exit code: 0, or that of the run that failed.

    Raises:
        UsageError: If no number is given.
    """
    name = request.run_name or datetime.now().strftime("%Y%m%d-%H%M%S")
    parent = Path(log_root(request.config), request.config["experiment"])
    options = [("config", path) for path in line.files]
    options += [(key, text) for key, text in line.overrides if key not in ("run_name", *request.numbers)]
    words = [word for key, text in options for word in (f"--{key}", text)]
    rows: list[dict[str, Any]] = []
    for changes in _series(request):
        run = f"{name}-" + "-".join(f"{key}{value}" for key, value in changes.items())
        code = _train([*words, *_settings(changes, request), "--run_name", run], parent / run)
        if code:
            print(f"run {run} failed; the same command goes on from there: --run_name {name}", file=sys.stderr)
            return code
        rows.append({"run": run, **_metrics(parent / run)})
    table = _with_mean(rows)
    with (parent / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    _show(table)
    print(f"\n{parent / f'{name}.csv'}")
    return 0


def _series(request: Request) -> list[dict[str, int]]:
    """Return what distinguishes each run: its seed, its fold, or both."""
    if not request.numbers:
        raise UsageError("repeat needs --num_folds N or --num_seeds N, or both")
    first = int(request.config.get("seed_everything") or 0)
    ranges = {}
    if "num_seeds" in request.numbers:
        ranges["seed"] = range(first, first + request.numbers["num_seeds"])
    if "num_folds" in request.numbers:
        ranges["fold"] = range(request.numbers["num_folds"])
    return [dict(zip(ranges, values, strict=True)) for values in product(*ranges.values())]


def _settings(changes: dict[str, int], request: Request) -> list[str]:
    words = ["--seed_everything", str(changes["seed"])] if "seed" in changes else []
    if "fold" in changes:
        words += ["--data.num_folds", str(request.numbers["num_folds"]), "--data.fold", str(changes["fold"])]
    return words


def _train(words: list[str], run: Path) -> int:
    record = _record(run)
    if record.get("exit_status") == 0:
        print(f"{run}: finished before")
        return 0
    print(f"\n{run}", flush=True)
    return subprocess.run([sys.executable, str(TRAIN), *words], check=False).returncode


def _record(run: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads((run / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record


def _metrics(run: Path) -> dict[str, float]:
    record = _record(run)
    metrics = {f"best/{name}": value for name, value in record["best"].items()} | record["metrics"]
    return {name: value for name, value in metrics.items() if name.startswith(SHOWN) and value is not None}


def _with_mean(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add a row of means and one of sample standard deviations."""
    names = [name for name in rows[0] if name != "run" and all(name in row for row in rows)]
    rows = [{name: row[name] for name in ("run", *names)} for row in rows]
    values = {name: [row[name] for row in rows] for name in names}
    mean = {"run": "mean"} | {name: statistics.mean(values[name]) for name in names}
    return [*rows, mean, {"run": "deviation"} | {name: statistics.stdev(values[name]) for name in names}]


def _show(table: list[dict[str, Any]]) -> None:
    names = list(table[0])
    width = max(len(row["run"]) for row in table)
    print("\n" + " " * width + "".join(f"{name:>20}" for name in names[1:]))
    for row in table:
        print(f"{row['run']:<{width}}" + "".join(f"{row[name]:>20.4f}" for name in names[1:]))
