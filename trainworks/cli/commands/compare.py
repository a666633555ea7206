import csv
import glob
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainworks.cli.command import Command, Option
from trainworks.cli.command_line import CommandLine
from trainworks.cli.search.space import short
from trainworks.errors import UsageError, did_you_mean, listed
from trainworks.runs.run import Run
from trainworks.runs.yaml_files import flatten, load_file, short_key
from trainworks.runtime.logged_metrics import without_classes

REPETITION_KEYS = ("seed_everything", "data.fold")  # runs that differ in these alone are repetitions of one another
SHOWN = ("best/", "val", "test")  # metrics in the table, by how their names begin


@dataclass
class Row:
    """One run, or several that differ in seed or fold alone."""

    names: list[str]
    settings: dict[str, Any]  # without those of `REPETITION_KEYS`
    metrics: dict[tuple[Any, ...], dict[str, float]] = field(default_factory=dict)  # by the values of `REPETITION_KEYS`

    def values(self, name: str) -> dict[tuple[Any, ...], float]:
        """One metric, by seed and fold."""
        return {repetition: found[name] for repetition, found in self.metrics.items() if name in found}


def compare(line: CommandLine) -> int:
    """Print the table, write it if asked for, and say whether the first differs from the others by more than noise."""
    sort_by, mode, output = (line.options.get(name) for name in ("sort_by", "mode", "output"))
    if output is not None and Path(output).suffix not in (".csv", ".md"):
        raise UsageError(f"--output must end in .csv or .md, got {output}")
    runs = find_runs(line.positional)
    rows = group(runs)
    known = list(dict.fromkeys(name for row in rows for found in row.metrics.values() for name in found))
    shown = [name for name in without_classes(dict.fromkeys(known)) if name.startswith(SHOWN)] or known
    monitor = rows[0].settings.get("callbacks.best.monitor") or "val/loss"
    usual = rows[0].settings.get("callbacks.best.mode") or "min"
    by = sort_by or next((n for n in (f"best/{monitor}", monitor, *shown) if n in known), None)
    if by is None:
        raise UsageError("none of these runs has metrics; did one of them finish?")
    if by not in known:
        raise UsageError(f"--sort_by {by}: no run has it{did_you_mean(by, known)}; they have {', '.join(known)}")
    highest = (mode or (usual if by.endswith(monitor) else "min" if "loss" in by else "max")) == "max"
    ranked = [row for row in rows if row.values(by)]
    ranked.sort(key=lambda row: statistics.mean(row.values(by).values()), reverse=highest)
    ranked += [row for row in rows if not row.values(by)]
    table = _table(ranked, [by, *(name for name in shown if name != by)])
    _print(table)
    print(f"\nsorted by {by}, {'highest' if highest else 'lowest'} first")
    for other in ranked[1:]:
        _print_difference(ranked[0], other, by)
    print(f"\ntensorboard --logdir {runs[0].directory.parent}")
    if output is not None:
        _write(table, Path(output))
    return 0


def find_runs(words: list[str]) -> list[Run]:
    """Return the runs that are meant by folders, patterns, or folders that hold runs; finished or not."""
    found: dict[Path, Run] = {}
    passed_over: list[str] = []
    for word in words:
        folders = [Path(name) for name in sorted(glob.glob(word))] or [Path(word)]
        if not any(folder.exists() for folder in folders):
            raise UsageError(f"{word}: no run there; write the folders of runs, or of an experiment")
        for folder in folders:
            runs = [file.parent for pattern in ("run.json", "*/run.json") for file in sorted(folder.glob(pattern))]
            passed_over += [] if runs else [str(folder)]
            found |= {run.resolve(): Run(run) for run in runs}
    if passed_over:
        print(f"passed over {len(passed_over)}, since they are no runs: {listed(passed_over)}")
    if len(found) < 2:
        raise UsageError("compare needs two runs at least; write their folders, or that of their experiment")
    return list(found.values())


def group(runs: list[Run]) -> list[Row]:
    """Put together runs that differ in seed or fold alone, the code included; equal runs keep a row each."""
    rows: list[Row] = []
    for run in runs:
        known = flatten(load_file(str(run.directory / "config.yaml"))).items()
        settings = {short_key(key): value for key, value in known if value != {}}
        repetition = tuple(settings.pop(key, None) for key in REPETITION_KEYS)
        settings |= _code(run.read())
        row = next((row for row in rows if row.settings == settings and repetition not in row.metrics), None)
        if row is None:
            rows.append(row := Row([], settings))
        row.names.append(run.directory.name)
        row.metrics[repetition] = {key: value for key, value in run.metrics.items() if isinstance(value, int | float)}
    return rows


def _code(record: dict[str, Any]) -> dict[str, Any]:
    """Return the library's version and the first digits of the hash of each file that a run imported, by what it is."""
    code = (record.get("resumed") or [record])[-1].get("code") or {}
    return {"trainworks": record.get("versions", {}).get("trainworks")} | {f"code: {k}": v[:7] for k, v in code.items()}


def _table(rows: list[Row], metrics: list[str]) -> list[list[str]]:
    """Return the lines that are printed and written, first their titles: name, the settings that differ, metrics."""
    differ: dict[tuple[str, ...], str] = {}  # by the values in each row; what only repeats another is left out
    for key in dict.fromkeys(key for row in rows for key in row.settings):
        values = tuple(short(row.settings.get(key)) for row in rows)
        if len(set(values)) > 1 and key != "experiment":
            differ.setdefault(values, key)
    lines = [["run", *differ.values(), *metrics]]
    for row in rows:
        more = f" and {len(row.names) - 1} more" if len(row.names) > 1 else ""
        settings = [short(row.settings.get(key)) for key in differ.values()]
        lines.append([row.names[0] + more, *settings, *(_mean_text([*row.values(name).values()]) for name in metrics)])
    return lines


def _mean_text(values: list[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.4f}" if values else ""
    return f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f} (n = {len(values)})"


def _print_difference(first: Row, other: Row, by: str) -> None:
    """Say whether two groups differ, by pairs of the same seed and fold; nothing where there are no two pairs."""
    one, two = first.values(by), other.values(by)
    pairs = [(one[repetition], two[repetition]) for repetition in one if repetition in two]
    if len(pairs) < 2:
        return
    from scipy import stats  # takes a second to import

    names, changes = f"{first.names[0]} - {other.names[0]}", [a - b for a, b in pairs]
    if len(set(changes)) == 1:
        print(f"{names}: {changes[0]:+.4f} in all {len(pairs)} pairs")
        return
    p = float(stats.ttest_rel(*zip(*pairs, strict=True)).pvalue)
    verdict = "more than noise" if p < 0.05 else "may be noise"
    folds = len({repetition[1] for repetition in one}) > 1
    paired = "seed and fold; folds share training samples, which makes p too small" if folds else "seed"
    test = f"t-test paired by {paired}; n = {len(pairs)}, p = {p:.2g}"
    print(f"{names}: {statistics.mean(changes):+.4f}, {verdict} ({test})")


def _print(table: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def _write(table: list[list[str]], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        if path.suffix == ".csv":
            csv.writer(file).writerows(table)
        else:
            for line in (table[0], ["---"] * len(table[0]), *table[1:]):
                file.write("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n")
    print(path)


COMMAND = Command(
    compare,
    "Print the settings in which runs differ, and their metrics.",
    needs="words",
    positional="RUN ...",
    options=(
        Option("sort_by", "the metric that decides the order; what the best checkpoint monitors by default", "METRIC"),
        Option("mode", "which of its values is best", choices=("min", "max")),
        Option("output", "a .csv or .md file for the table", "FILE"),
    ),
)
