"""python train.py repeat --config C --num_folds 5: train over all folds, or several seeds, and average."""

import csv
import statistics
import sys
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any

from trainworks.cli.request import Request, log_root
from trainworks.cli.series import train_once, words_of
from trainworks.errors import UsageError
from trainworks.runs.run import Run

SHOWN = ("best/", "test")  # the metrics in the table, and the names with which a module of any kind begins them


def repeat(request: Request) -> int:
    """Train once for each fold and seed, each in a run directory of its own, then print a table.

    A run that finished under the same name before is not repeated, so an interrupted series goes on where it was. The
    exit code is 0, or that of the run that failed.
    """
    line = request.line
    name = line.options.get("run_name") or datetime.now().strftime("%Y%m%d-%H%M%S")
    parent = Path(log_root(request.config), request.config["experiment"])
    words = words_of(line)
    rows: list[dict[str, Any]] = []
    for changes in _series(request):
        run = Run(parent / (f"{name}-" + "-".join(f"{key}{value}" for key, value in changes.items())))
        if run.is_finished:
            print(f"{run.directory}: finished before")
        else:
            print(f"\n{run.directory}", flush=True)
            command = [*words, *_settings(changes, line.numbers), "--run_name", run.directory.name]
            code, _ = train_once(command, request.config)
            if code:
                again = f"the same command goes on from there: --run_name {name}"
                print(f"run {run.directory.name} failed; {again}", file=sys.stderr)
                return code
        shown = {key: value for key, value in run.metrics.items() if key.startswith(SHOWN) and value is not None}
        rows.append({"run": run.directory.name, **shown})
    table = _with_mean(rows)
    if len(table[0]) == 1:
        print("\nno metric of a validation or test is in all of these runs")
        return 0
    with (parent / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    names, width = list(table[0])[1:], max(len(row["run"]) for row in table)
    print("\n" + " " * width + "".join(f"{key:>20}" for key in names))
    for row in table:
        print(f"{row['run']:<{width}}" + "".join(f"{row[key]:>20.4f}" for key in names))
    print(f"\n{parent / f'{name}.csv'}")
    return 0


def _series(request: Request) -> list[dict[str, int]]:
    """Return what distinguishes each run: its seed, its fold, or both."""
    numbers, first = request.line.numbers, int(request.config.get("seed_everything") or 0)
    if not numbers:
        raise UsageError("repeat needs --num_folds N or --num_seeds N, or both")
    ranges = {"seed": range(first, first + numbers.get("num_seeds", 0)), "fold": range(numbers.get("num_folds", 0))}
    ranges = {name: values for name, values in ranges.items() if values}
    return [dict(zip(ranges, values, strict=True)) for values in product(*ranges.values())]


def _settings(changes: dict[str, int], numbers: dict[str, int]) -> list[str]:
    words = ["--seed_everything", str(changes["seed"])] if "seed" in changes else []
    if "fold" in changes:
        words += ["--data.num_folds", str(numbers["num_folds"]), "--data.fold", str(changes["fold"])]
    return words


def _with_mean(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add a row of means and one of sample standard deviations."""
    names = [name for name in rows[0] if name != "run" and all(name in row for row in rows)]
    rows = [{name: row[name] for name in ("run", *names)} for row in rows]
    values = {name: [row[name] for row in rows] for name in names}
    mean = {"run": "mean"} | {name: statistics.mean(values[name]) for name in names}
    return [*rows, mean, {"run": "deviation"} | {name: statistics.stdev(values[name]) for name in names}]
