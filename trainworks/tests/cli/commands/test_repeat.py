import csv
import json
import re
import statistics
from pathlib import Path
from typing import Any

import pytest

from trainworks.cli.search.series import first_seed
from trainworks.tests.conftest import DIGITS, QUICK, Train


@pytest.mark.long
def test_folds_and_seeds_are_averaged_and_finished_runs_not_repeated(train_process: Train, tmp_path: Path) -> None:
    words = ("repeat", "--config", DIGITS, *QUICK, "--num_folds", "2", "--num_seeds", "2", "--run_name", "cv")
    result = train_process(*words)
    assert result.code == 0, result.err
    names = [f"cv-seed{seed}-fold{fold}" for seed in (0, 1) for fold in (0, 1)]
    runs = tmp_path / "logs" / "digits"
    records = [json.loads((runs / name / "run.json").read_text()) for name in names]
    rows = list(csv.DictReader((runs / "cv.csv").read_text().splitlines()))
    assert [row["run"] for row in rows] == [*names, "mean", "deviation"]
    accuracies = [record["metrics"]["test/accuracy"] for record in records]
    assert [float(row["test/accuracy"]) for row in rows[:4]] == accuracies
    assert float(rows[4]["test/accuracy"]) == pytest.approx(statistics.mean(accuracies))
    assert float(rows[5]["test/accuracy"]) == pytest.approx(statistics.stdev(accuracies))
    assert float(rows[2]["best/val/loss"]) == records[2]["best"]["val/loss"]
    assert f"{statistics.mean(accuracies):.4f}" in result.out.splitlines()[-4]
    configs = [(runs / name / "config.yaml").read_text() for name in names]
    assert [re.findall(r"seed_everything: (\d)|    fold: (\d)", config) for config in configs] == [
        [(seed, ""), ("", fold)] for seed in "01" for fold in "01"
    ]

    (runs / names[3] / "run.json").unlink()  # as if it had been stopped
    (runs / names[3]).rename(runs / "aside")
    again = train_process(*words)
    assert again.code == 0, again.err
    assert again.out.count("finished before") == 3
    assert list(csv.DictReader((runs / "cv.csv").read_text().splitlines())) == rows
    other = train_process(*words, "--num_folds", "3")  # a fold of two parts is none of three
    assert other.code == 2 and "was trained with another data.num_folds; write a new --run_name" in other.err


def test_runs_that_log_nothing_are_no_empty_table(train: Train, tmp_path: Path) -> None:
    boring = "lightning.pytorch.demos.boring_classes.Boring"
    content = f"model: {boring}Model\ndata: {boring}DataModule\ntrainer: {{max_steps: 1, accelerator: cpu}}\n"
    (tmp_path / "boring.yaml").write_text(content)
    result = train("repeat", "--config", "boring.yaml", "--num_seeds", "2", "--run_name", "a")
    assert result.code == 0, result.err
    assert result.out.endswith("\nno metric of a validation or test is in all of these runs\n")
    words = ("repeat", "--config", "boring.yaml", "--num_seeds", "2", "--run_name", "a")
    assert train(*words, "--trainer.max_steps", "1").out.count("finished before") == 2
    other = train(*words, "--trainer.max_steps", "2")
    told = "error: logs/boring/a-seed0 was trained with another trainer.max_steps; write a new --run_name\n"
    assert (other.code, other.err) == (2, told)
    assert {path.name for path in tmp_path.rglob("*.csv")} == {"metrics.csv"}


@pytest.mark.long
def test_a_run_that_fails_ends_the_series_with_its_code(train_process: Train) -> None:
    result = train_process("repeat", "--config", DIGITS, "--num_seeds", "2", "--data.val_fraction", "2")
    assert result.code == 2
    assert "data.val_fraction must be in [0, 1), got 2" in result.err
    assert re.search(r"run \d+-\d+-seed0 failed$", result.err.strip())  # the same command would fail again


@pytest.mark.parametrize(("stated", "seed"), [({}, 0), ({"seed_everything": 3}, 3), ({"seed_everything": "true"}, 1)])
def test_seeds_are_counted_from_what_is_typed_or_written(stated: dict[str, Any], seed: int) -> None:
    assert first_seed(stated) == seed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "repeat needs --num_folds N or --num_seeds N, or both"),
        (["--num_folds", "1"], "--num_folds must be a number of at least 2, got 1"),
        (["--num_seeds", "many"], "--num_seeds must be a number of at least 2, got many"),
        (["--num_seeds", "2", "--seed_everything", "x"], "seed_everything must be a whole number, got x"),
        (["--num_seeds", "2", "--run_name", "a/b"], "--run_name must be a plain folder name, got 'a/b'"),
    ],
)
def test_mistakes(train: Train, words: list[str], message: str) -> None:
    result = train("repeat", "--config", DIGITS, *words)
    assert (result.code, result.err) == (2, f"error: {message}\n")
    other = train("fit", "--config", DIGITS, "--num_folds", "3")
    assert (other.code, other.err) == (2, "error: fit takes no --num_folds; it belongs to repeat\n")
