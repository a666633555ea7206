"""Compare ways of doing a thing, in turn, since these machines are noisy, and keep every result."""

import argparse
import json
import os
import re
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

ROWS = "BENCHMARK_ROWS"  # environment variable: the file that `benchmarks.all` collects results in


def arguments(description: str | None, sections: Iterable[str], repetitions: int) -> argparse.Namespace:
    """Read the command line that all benchmarks share.

    Args:
        description: What `--help` shows.
        sections: The parts of the benchmark, of which some may be named.
        repetitions: How often each way is measured, unless the command line says otherwise.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", choices=[*sections, []], metavar="section", help=", ".join(sections))
    parser.add_argument("--repetitions", type=int, default=None, help=f"default {repetitions}, with --quick 1")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--root", help="folder that holds the real Fashion-MNIST; without it images are made up")
    options = parser.parse_args()
    options.sections = options.sections or list(sections)
    options.repetitions = options.repetitions or (1 if options.quick else repetitions)
    return options


def run_sections(
    description: str | None, sections: dict[str, Callable[[argparse.Namespace], object]], repetitions: int
) -> None:
    """Run the parts of a benchmark that the command line names, or all; the arguments are those of `arguments`."""
    options = arguments(description, sections, repetitions)
    for name in options.sections:
        sections[name](options)


def seconds(work: Callable[[], object]) -> float:
    """Return how long `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(repetitions: int, ways: dict[str, Callable[[], float]], warm_up: int = 1) -> dict[str, list[float]]:
    """Call all ways in turn, after a round that is not counted; every other round goes backwards.

    Args:
        repetitions: Rounds that count.
        ways: Functions by name, each of which returns what it measured.
        warm_up: Rounds that do not count.

    Returns:
        What each way measured, round by round.
    """
    measured: dict[str, list[float]] = {name: [] for name in ways}
    for round_number in range(repetitions + warm_up):
        for name in list(ways)[:: -1 if round_number % 2 else 1]:
            measured[name].append(ways[name]())
    return {name: values[warm_up:] for name, values in measured.items()}


def compare(name: str, goal: str, repetitions: int, **ways: Callable[[], object]) -> float:
    """Time two ways in turn, and print and record medians and the median of the paired ratios.

    Args:
        name: What is compared.
        goal: What is hoped for, in words.
        repetitions: Pairs, after one that is not counted.
        ways: Two functions by name; the ratio is the second's time over the first's.

    Returns:
        The median ratio.
    """
    first, second = ways
    return record_ratio(name, goal, measure_seconds(repetitions, ways), second, first)


def measure_seconds(repetitions: int, ways: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Time all ways in turn; see `measure`."""
    return measure(repetitions, {way: lambda work=work: seconds(work) for way, work in ways.items()})


def record_ratio(name: str, goal: str, measured: dict[str, list[float]], over: str, under: str) -> float:
    """Print and record the median of the paired ratios of two ways, and return it."""
    ratios = [b / a for a, b in zip(measured[under], measured[over], strict=True)]
    times = ", ".join(f"{way} {_time(statistics.median(measured[way]))}" for way in (under, over))
    return record(name, goal, ratios, "x", times)


def record(name: str, goal: str, values: list[float], unit: str, details: str = "") -> float:
    """Print and record the median of what was measured, and return it.

    Args:
        name: What was measured.
        goal: What is hoped for; "at most 1.1" and "at least 6" are compared with the median.
        values: One for each repetition.
        unit: Written after the numbers.
        details: Whatever explains the result.
    """
    median = statistics.median(values)
    spread = f"{_number(min(values))} to {_number(max(values))}, n = {len(values)}" if len(values) > 1 else ""
    result = f"{_number(median)}{unit if unit == 'x' else ' ' + unit}"
    print(f"{name:<60} {result:>10}  ({spread}); {details}; goal: {goal or 'none'}", flush=True)
    row = {"what": name, "result": result, "spread": spread, "details": details, "goal": goal}
    if ROWS in os.environ:
        with Path(os.environ[ROWS]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row | {"met": is_met(goal, median)}) + "\n")
    return median


def is_met(goal: str, value: float) -> str:
    """Return "yes" or "no" if the goal begins with "at most" or "at least" and a number, else nothing."""
    found = re.match(r"at (most|least) ([\d.]*\d)", goal)
    if found is None:
        return ""
    limit = float(found[2])
    return "yes" if (value <= limit if found[1] == "most" else value >= limit) else "no"


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _time(value: float) -> str:
    return f"{value:.3f} s" if value >= 0.1 else f"{value * 1e3:.3f} ms"
