import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from scipy import stats

from trainworks.tests.conftest import DIGITS, QUICK, Train


def write_run(
    name: str, seed: int, accuracy: float | None, lr: float = 0.1, fold: int | None = None, code: str = "0"
) -> None:
    folder = Path("logs/digits", name)
    folder.mkdir(parents=True)
    optimizer = {"class_path": "torch.optim.SGD", "init_args": {"lr": lr}}
    config: dict[str, Any] = {
        "seed_everything": seed,
        "experiment": "digits",
        "model": {
            "class_path": "trainworks.tests.examples.classifier.ClassifierModule",
            "init_args": {"optimizer": optimizer},
        },
        "data": {"class_path": "trainworks.tests.examples.digits.DigitsDataModule", "init_args": {"fold": fold}},
        "callbacks": {
            "best": {
                "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
                "init_args": {"monitor": "val/accuracy", "mode": "max"},
            }
        },
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    metrics = {"val/accuracy": accuracy, "train/loss": 1.0, "test/loss": 0.5 + seed}
    best = {} if accuracy is None else {"val/accuracy": accuracy}
    record = {"metrics": metrics, "best": best, "code": {"src/net.py": code, "src/data.py": "1"}}
    (folder / "run.json").write_text(json.dumps(record))


def test_settings_that_differ_and_metrics_sorted(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_run("a", 0, 0.8, lr=0.1)
    write_run("b", 0, 0.9, lr=0.01)
    write_run("c", 0, None, lr=0.001)
    result = train("compare", "logs/digits/*", "--output", "out/t.csv")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert lines[0].split() == ["run", "model.optimizer.lr", "best/val/accuracy", "val/accuracy", "test/loss"]
    assert [line.split()[:3] for line in lines[1:4]] == [
        ["b", "0.01", "0.9000"],
        ["a", "0.1", "0.8000"],
        ["c", "0.001", "0.5000"],
    ]  # no accuracy
    assert "sorted by best/val/accuracy, highest first" in result.out
    assert [row["run"] for row in csv.DictReader(Path("out/t.csv").read_text().splitlines())] == ["b", "a", "c"]
    result = train("compare", "logs/digits", "--sort_by", "test/loss", "--output", "t.md")
    assert "sorted by test/loss, lowest first" in result.out
    assert Path("t.md").read_text().startswith("| run | model.optimizer.lr | test/loss |")
    Path("logs/digits/c/run.json").write_text('{"evaluations": []}')  # a checkpoint that was only evaluated
    assert train("compare", "logs/digits").out.splitlines()[3].split()[:2] == ["c", "0.001"]


def test_runs_of_other_code_are_other_runs(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_run("gelu", 0, 0.7465, code="a" * 16)
    write_run("relu", 0, 0.7799, code="b" * 16)
    write_run("again", 0, 0.7801, code="b" * 16)  # the same once more, but not the same figure
    (tmp_path / "logs/digits/table.csv").touch()
    result = train("compare", *(str(path) for path in Path("logs/digits").iterdir()), "--sort_by", "best/val/accuracy")
    assert (result.code, result.err) == (0, "")
    assert "passed over 1, since they are no runs: logs/digits/table.csv" in result.out
    assert "passed over 1, since they are no runs: logs/digits/table.csv" in train("compare", "logs/digits/*").out
    lines = [line.split() for line in result.out.splitlines()]
    assert lines[1][:4] == ["run", "code:", "src/net.py", "best/val/accuracy"]
    rows = [["again", "bbbbbbb", "0.7801"], ["relu", "bbbbbbb", "0.7799"], ["gelu", "aaaaaaa", "0.7465"]]
    assert [line[:3] for line in lines[2:5]] == rows


@pytest.mark.parametrize("folds", [False, True])
def test_repetitions_are_put_together_and_paired(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folds: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    one, two = [0.90, 0.92, 0.91], [0.88, 0.91, 0.87]
    for number, (first, second) in enumerate(zip(one, two, strict=True)):
        seed, fold = (0, number) if folds else (number, None)
        write_run(f"a{number}", seed, first, 0.1, fold)
        write_run(f"b{number}", seed, second, 0.2, fold)
    result = train("compare", "logs/digits")
    assert "a0 and 2 more" in result.out and "0.9100 ± 0.0100 (n = 3)" in result.out
    p = stats.ttest_rel(one, two).pvalue
    by = "seed and fold; folds share training samples, which makes p too small" if folds else "seed"
    assert f"a0 - b0: +0.0233, may be noise (t-test paired by {by}; n = 3, p = {p:.2g})" in result.out


def test_mistakes(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_run("a", 0, 0.8)
    write_run("b", 1, 0.9)
    for words, message in {
        ("logs/digits/a",): "compare needs two runs at least",
        (): "compare needs two runs at least",
        ("logs/digits/a", "gone"): "gone: no run there; write the folders of runs, or of an experiment",
        (
            "logs/digits",
            "--sort_by",
            "val/accurcy",
        ): "--sort_by val/accurcy: no run has it (did you mean val/accuracy?)",
        ("logs/digits", "--output", "t.txt"): "--output must end in .csv or .md, got t.txt",
        ("logs/digits", "--mode", "most"): "--mode must be min or max, got most",
        ("logs/digits", "--config", DIGITS): "compare takes no --config; it takes --sort_by, --mode, --output",
    }.items():
        result = train("compare", *words)
        assert (result.code, message in result.err) == (2, True), (words, result.err)


def test_real_runs(train: Train) -> None:
    for name, rate in (("a", "0.01"), ("b", "0.02")):
        assert train("--config", DIGITS, *QUICK, "--run_name", name, "--model.optimizer.lr", rate).code == 0
    result = train("compare", "logs/digits/a", "logs/digits/b")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines()[0].split()[:2] == ["run", "model.optimizer.lr"]
    assert "max_lr" not in result.out  # follows from it
