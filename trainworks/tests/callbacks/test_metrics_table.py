import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch import Callback
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainworks.runs.page import write_page
from trainworks.runtime.stop_reason import stop_reason
from trainworks.tests.conftest import DIGITS, QUICK, Train

RUN = Path("logs/digits/a")


def rows() -> list[dict[str, str]]:
    with (RUN / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_keeps_what_there_is_to_look_at(train: Train) -> None:
    words = ("--config", DIGITS, *QUICK, "--run_name", "a", "--trainer.max_epochs", "3")
    words += ("--trainer.check_val_every_n_epoch", "2")
    result = train(*words)
    assert result.code == 0, result.err
    found, record = rows(), json.loads((RUN / "run.json").read_text())
    assert [(row["epoch"], row["step"]) for row in found] == [("1", "2"), ("2", "4"), ("3", "6")]
    lines = [line.split() for line in result.out.splitlines() if line.startswith("epoch ")]
    for row, line in zip(found, lines, strict=True):
        shown = dict(zip(line[2::2], line[3::2], strict=False))
        named = {name: f"{float(value):.4f}" for name, value in row.items() if "/" in name and value}
        assert named == {name: value for name, value in shown.items() if "/" in name}
    assert [bool(row["val/loss"]) for row in found] == [False, True, False]
    assert (record["best_epoch"], record["best_step"], record["stopped"]) == (2, 4, "all 3 epochs")
    assert "best epoch       2, step 4; val/loss" in result.out and "ended by         all 3 epochs" in result.out
    with Image.open(RUN / "curves.png") as picture:
        assert picture.size[0] > 300
    page = (RUN / "README.md").read_text()
    assert page.startswith("# digits/a\n") and "![curves](curves.png)" in page
    assert f"| test/accuracy | {record['metrics']['test/accuracy']:.4f} |" in page and "[metrics.csv]" in page

    first = found[:2]
    (RUN / "run.json").write_text(json.dumps(record | {"exit_status": None}))  # as if it had been killed,
    (RUN / "checkpoints/last.ckpt").unlink()  # with a state of the second epoch's end
    again = train(*words, "--resume", str(RUN))
    assert again.code == 0 and "step 4" in again.out, again.err
    assert rows()[:2] == first and len(rows()) == 3
    same = [{name: cell for name, cell in row.items() if name != "seconds"} for row in (found[2], rows()[2])]
    assert same[0] == same[1]


class Rates(Callback):
    """Prints with which rate the last step of an epoch was taken."""

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        self.rate = optimizer.param_groups[0]["lr"]

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        print(f"rate {self.rate}")


def test_the_learning_rate_is_that_of_the_last_step(train: Train) -> None:
    words = ("--config", DIGITS, *QUICK, "--trainer.max_epochs", "3", "--run_name", "a")
    result = train("fit", *words, f"--callbacks.rates={__name__}.Rates", "--trainer.log_every_n_steps", "1")
    assert result.code == 0, result.err
    taken = [line.split()[1] for line in result.out.splitlines() if line.startswith("rate ")]
    assert [row["learning_rate"] for row in rows()] == taken and len(set(taken)) == 3
    events = EventAccumulator(str(RUN)).Reload().Scalars("lr")
    assert [event.value for event in events[1::2]] == pytest.approx([float(rate) for rate in taken])


def test_a_state_saved_before_an_epochs_first_batch_loses_no_row(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--config", DIGITS, *QUICK, "--trainer.max_epochs", "3", "--run_name", "a")
    words += ("--callbacks.last.every_n_epochs", "0", "--callbacks.last.every_n_steps", "2")
    words += ("--callbacks.bomb=trainworks.tests.bomb.Bomb",)
    monkeypatch.setenv("BOMB", "batch:3")  # the second of the second epoch
    assert train("fit", *words).code == 1
    monkeypatch.delenv("BOMB")
    result = train("fit", *words, "--resume", "auto")
    assert result.code == 0 and "last.ckpt, step 2" in result.out, result.err
    assert [row["epoch"] for row in rows()] == ["1", "2", "3"]
    assert [line.split()[1] for line in result.out.splitlines() if line.startswith("epoch ")] == ["2/3", "3/3"]


def test_a_table_that_cannot_be_written_ends_nothing(train: Train) -> None:
    (RUN / "metrics.csv.tmp").mkdir(parents=True)
    result = train("fit", "--config", DIGITS, *QUICK, "--run_name", "a")
    assert (result.code, result.err) == (0, "")
    assert f"{RUN}/metrics.csv could not be written: Is a directory" in result.out


def test_why_a_training_ended(train: Train) -> None:
    stopping = "lightning.pytorch.callbacks.EarlyStopping"
    words = ("--callbacks.stop", stopping, "--callbacks.stop.monitor", "val/loss", "--callbacks.stop.patience", "1")
    still = ("--model.optimizer.lr", "0.0", "--trainer.max_epochs", "9", "--run_name", "a")
    result = train("fit", "--config", DIGITS, *QUICK, *words, *still)
    assert "early stopping, 1 validations without a better val/loss" in result.out, result.err
    progress = SimpleNamespace(current=SimpleNamespace(processed=3))
    trainer: Any = SimpleNamespace(
        fit_loop=SimpleNamespace(epoch_progress=progress), max_steps=7, max_epochs=5, global_step=7, callbacks=[]
    )
    assert stop_reason(trainer) == "all 7 steps"
    trainer.global_step = 6
    assert stop_reason(trainer) == "a callback or the module stopped it"


@pytest.mark.parametrize(("name", "shown"), [("a|b_c", r"a\|b\_c"), ("[x](y)", r"\[x\]\(y\)")])
def test_names_on_the_page_are_no_markdown(tmp_path: Path, name: str, shown: str) -> None:
    (tmp_path / f"worst_{name}.png").touch()
    write_page(tmp_path, {"command": "train.py", "evaluations": [{"stage": "test", "metrics": {f"test/{name}": None}}]})
    page = (tmp_path / "README.md").read_text()
    assert f"| test/{shown} | not finite |" in page
    assert f"![worst test samples {shown.replace(chr(92) + '_', ' ')}](worst_" in page
