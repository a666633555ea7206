import csv
import statistics
import sys
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any

from trainworks.cli.command import TRUST, Command, Option
from trainworks.cli.defaults import log_root
from trainworks.cli.request import Request
from trainworks.cli.search.series import first_seed, is_trained, series_name, train_once, typed, words_of
from trainworks.errors import UsageError
from trainworks.runs.run import Run

SHOWN = ("best/", "test")  # the metrics in the table, and the names with which a module of any kind begins them


def repeat(request: Request) -> int:
    """Train once for each fold and seed, each in a run directory of its own, then print a table.

    A run that finished under the same name before is not repeated, so an interrupted series goes on where it was.
    """
    line, numbers = request.line, request.line.numbers
    if not numbers:
        raise UsageError("repeat needs --num_folds N or --num_seeds N, or both")
    num_seeds, num_folds = numbers.get("num_seeds", 0), numbers.get("num_folds", 0)
    first = first_seed(request.config)
    seeds = [(f"seed{seed}", [("seed_everything", seed)]) for seed in range(first, first + num_seeds)]
    folds = [(f"fold{fold}", [("data.num_folds", num_folds), ("data.fold", fold)]) for fold in range(num_folds)]
    name = series_name(line, datetime.now().strftime("%Y%m%d-%H%M%S"))
    parent = Path(log_root(request.config), request.config["experiment"])
    metrics: dict[str, dict[str, Any]] = {}  # by the name of the run
    for parts in product(*filter(None, (seeds, folds))):
        run = Run(parent / "-".join([name, *(part for part, _ in parts)]))
        changes = [*(change for _, changed in parts for change in changed), ("run_name", run.directory.name)]
        words = [*words_of(line), *typed(changes)]
        if is_trained(run, words):
            print(f"{run.directory}: finished before")
        else:
            print(flush=True)
            code, _ = train_once(words, request.config)
            if code:
                how = "" if code == 2 else f"; the same command goes on from there: --run_name {name}"
                print(f"run {run.directory.name} failed{how}", file=sys.stderr)
                return code
        shown = {key: value for key, value in run.metrics.items() if key.startswith(SHOWN) and value is not None}
        metrics[run.directory.name] = shown
    names = [key for key in next(iter(metrics.values())) if all(key in found for found in metrics.values())]
    if not names:
        print("\nno metric of a validation or test is in all of these runs")
        return 0
    rows = [[run_name, *(found[key] for key in names)] for run_name, found in metrics.items()]
    columns = [[found[key] for found in metrics.values()] for key in names]
    rows += [["mean", *map(statistics.mean, columns)], ["deviation", *map(statistics.stdev, columns)]]
    with (parent / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["run", *names], *rows])
    width = max(len(row[0]) for row in rows)
    print("\n" + " " * width + "".join(f"{key:>20}" for key in names))
    for run_name, *values in rows:
        print(f"{run_name:<{width}}" + "".join(f"{value:>20.4f}" for value in values))
    print(f"\n{parent / f'{name}.csv'}")
    return 0


COMMAND = Command(
    repeat,
    "Train over all folds, or with several seeds, and average.",
    needs="configuration",
    options=(
        Option("num_folds", "train on so many folds (cross-validation)", "N", minimum=2),
        Option("num_seeds", "train with so many seeds", "N", minimum=2),
        Option("run_name", "name of all runs together; the time by default"),
        TRUST,
    ),
)
