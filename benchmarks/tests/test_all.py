"""The benchmarks run, with tiny sizes, and their table is written."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.all import BEGIN, END, replaced
from benchmarks.pairs import ROWS, compare, is_met, measure, record
from trainworks.testing import ROOT

pytestmark = pytest.mark.benchmarks

ROW = {"what": "a | b", "result": "2x", "spread": "1 to 3, n = 3", "details": "d", "goal": "at most 3", "met": "yes"}


def test_rows_replace_those_of_the_same_benchmark_alone() -> None:
    document = replaced(f"before\n{BEGIN}\n{END}\nafter\n", {"epoch": [ROW], "tax": [ROW | {"result": "5x"}]})
    assert document.startswith(f"before\n{BEGIN}\n\n### tax\n\n`python -m benchmarks.tax`, ")
    assert document.endswith(f"\n\n{END}\nafter\n")
    assert "| a / b | 2x | 1 to 3, n = 3 | at most 3 | yes | d |" in document
    again = replaced(document, {"tax": [ROW | {"result": "7x"}]})
    assert ("5x" in again, again.count("7x"), again.count("2x"), again.count("###")) == (False, 1, 1, 2)
    assert replaced(document, {}) == document


@pytest.mark.parametrize("text", ["", BEGIN, f"{BEGIN}{END}{END}"])
def test_a_document_without_markers_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must hold each of the lines <!-- table: begin --> and"):
        replaced(text, {})


def test_a_goal_that_is_a_number_is_judged() -> None:
    goals = ["at most 1.10", "at least 6", "at most 990 (what it took)", "no slower than Lightning's", ""]
    assert [is_met(goal, 2.0) for goal in goals] == ["no", "no", "yes", "", ""]


def test_what_is_measured_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROWS, str(tmp_path / "rows"))
    order: list[str] = []
    record("a step", "at most 3", [4.0, 1.0, 2.0], "ms", "on this machine")
    assert compare("two ways", "none", 2, one=lambda: order.append("a"), other=lambda: order.append("b")) > 0
    assert order == list("abbaab")  # the first round does not count
    rows = [json.loads(line) for line in (tmp_path / "rows").read_text().splitlines()]
    assert [row["what"] for row in rows] == ["a step", "two ways"]
    assert (rows[0]["result"], rows[0]["spread"], rows[0]["met"]) == ("2 ms", "1 to 4, n = 3", "yes")
    values = iter([9.0, 1.0, 2.0])
    assert measure(2, {"way": lambda: next(values)}) == {"way": [1.0, 2.0]}


def test_benchmarks_run_and_their_table_is_written(tmp_path: Path) -> None:
    document = tmp_path / "benchmarks.md"
    document.write_text(f"# Benchmarks\n\n{BEGIN}\n{END}\n")
    names = {"tax": "ours over bare Trainer", "epoch": "over a loop by hand", "growth": "10^5 samples"}
    command = [sys.executable, "-m", "benchmarks.all", *names, "--quick", "--output", str(document)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    text = document.read_text()
    assert "the benchmark failed" not in text, done.stderr
    for section, (name, wanted) in zip(text.split("### ")[1:], names.items(), strict=True):
        assert section.startswith(f"{name}\n")
        rows = [line for line in section.splitlines() if line.startswith("|")]
        assert any(wanted in row for row in rows)
        assert all(row.count("|") == 7 for row in rows)
