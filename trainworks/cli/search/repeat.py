"""Training over all folds, or with several seeds, and averaging."""

import csv
import statistics
import sys
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any

from trainworks.cli.defaults import log_root
from trainworks.cli.request import Request
from trainworks.cli.search.series import train_once, typed, words_of
from trainworks.errors import UsageError
from trainworks.runs.run import Run

SHOWN = ("best/", "test")  # the metrics in the table, and the names with which a module of any kind begins them


def train_repeatedly(request: Request) -> int:
    """Train once for each fold and seed, each in a run directory of its own, then print a table.

    A run that finished under the same name before is not repeated, so an interrupted series goes on where it was. The
    exit code is 0, or that of the run that failed.
    """
    line, numbers = request.line, request.line.numbers
    if not numbers:
        raise UsageError("repeat needs --num_folds N or --num_seeds N, or both")
    num_seeds, num_folds = numbers.get("num_seeds", 0), numbers.get("num_folds", 0)
    first = int(request.config.get("seed_everything") or 0)
    seeds = [(f"seed{seed}", [("seed_everything", seed)]) for seed in range(first, first + num_seeds)]
    folds = [(f"fold{fold}", [("data.num_folds", num_folds), ("data.fold", fold)]) for fold in range(num_folds)]
    name = line.options.get("run_name") or datetime.now().strftime("%Y%m%d-%H%M%S")
    parent = Path(log_root(request.config), request.config["experiment"])
    rows: list[dict[str, Any]] = []
    for parts in product(*filter(None, (seeds, folds))):
        run = Run(parent / "-".join([name, *(part for part, _ in parts)]))
        if run.is_finished:
            print(f"{run.directory}: finished before")
        else:
            print(f"\n{run.directory}", flush=True)
            changes = [*(change for _, changed in parts for change in changed), ("run_name", run.directory.name)]
            code, _ = train_once([*words_of(line), *typed(changes)], request.config)
            if code:
                how = f"the same command goes on from there: --run_name {name}"
                print(f"run {run.directory.name} failed; {how}", file=sys.stderr)
                return code
        shown = {key: value for key, value in run.metrics.items() if key.startswith(SHOWN) and value is not None}
        rows.append({"run": run.directory.name, **shown})
    names = [key for key in rows[0] if key != "run" and all(key in row for row in rows)]
    if not names:
        print("\nno metric of a validation or test is in all of these runs")
        return 0
    table = [{key: row[key] for key in ("run", *names)} for row in rows]
    for title, summary in (("mean", statistics.mean), ("deviation", statistics.stdev)):
        table.append({"run": title} | {key: summary(row[key] for row in rows) for key in names})
    with (parent / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["run", *names])
        writer.writeheader()
        writer.writerows(table)
    width = max(len(row["run"]) for row in table)
    print("\n" + " " * width + "".join(f"{key:>20}" for key in names))
    for row in table:
        print(f"{row['run']:<{width}}" + "".join(f"{row[key]:>20.4f}" for key in names))
    print(f"\n{parent / f'{name}.csv'}")
    return 0
