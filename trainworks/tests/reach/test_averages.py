"""Averages of weights: their values, and that validation, test and checkpoints use them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from trainworks.callbacks.weight_average import WeightAverage
from trainworks.models import load_model
from trainworks.tests.conftest import Result
from trainworks.tests.reach.problem import Record

pytestmark = pytest.mark.reach

AVERAGE = ("--callbacks.average", "trainworks.callbacks.WeightAverage")
BEST = ("--callbacks.best", "lightning.pytorch.callbacks.ModelCheckpoint", "--callbacks.best.dirpath", "checkpoints")
BEST += ("--callbacks.best.filename", "best", "--callbacks.best.monitor", "val/loss")
TEST = ("--trainer.limit_val_batches", "2", "--data.test", "train.npz", "--run_name", "a")


def moving(weights: list[Tensor], decay: float) -> Tensor:
    average = weights[0]
    for count, new in enumerate(weights):
        average = average.lerp(new, max(1 - decay, 9 / (10 + count)) if count else 1.0)
    return average


@pytest.mark.parametrize(
    ("words", "by_hand"),
    [
        (("--callbacks.average.decay", "0.5"), lambda weights: moving(weights, 0.5)),
        (("--callbacks.average.decay", "0.3", "--callbacks.average.start", "0.5"), lambda ws: moving(ws[6:], 0.3)),
        (("--callbacks.average.decay", "null"), lambda weights: torch.stack(weights).mean(0)),
        (
            ("--callbacks.average.decay", "null", "--callbacks.average.start", "0.75"),
            lambda weights: torch.stack(weights[9:]).mean(0),
        ),
        (
            ("--callbacks.average.decay", "null", "--callbacks.average.every_n_steps", "3"),
            lambda weights: torch.stack(weights[::3]).mean(0),
        ),
    ],
)
def test_the_average_is_that_computed_by_hand(
    fit: Callable[..., Result], words: tuple[str, ...], by_hand: Callable[[list[Tensor]], Tensor]
) -> None:
    assert fit({}, *AVERAGE, *words).err == ""
    final = parameters_to_vector(Record.trained["module"].parameters()).detach()
    torch.testing.assert_close(final, by_hand(Record.weights))
    assert not torch.equal(final, Record.weights[-1])


@pytest.mark.parametrize("start", ["0.0", "0.9"])
def test_what_is_validated_is_what_is_kept_and_tested(fit: Callable[..., Result], start: str) -> None:
    words = (*AVERAGE, "--callbacks.average.decay", "0.9", "--callbacks.average.start", start, *BEST, *TEST)
    together = fit({}, *words, command="")
    assert (together.code, together.err) == (0, "")
    validated = Record.trained["trainer"].checkpoint_callback.best_model_score
    (path,) = Path("logs").glob("*/a/checkpoints/best.ckpt")
    alone = fit({}, "--run_name", "a", command="test")
    assert (alone.code, alone.err) == (0, "")
    tests = [[line for line in result.out.splitlines() if line.startswith("test/loss")] for result in (together, alone)]
    assert [line.split() for line in tests[0]] == [line.split() for line in tests[1]]
    assert float(tests[0][0].split()[1]) == pytest.approx(float(validated), abs=1e-4)  # the same samples
    final = parameters_to_vector(load_model(path).parameters()).detach()
    torch.testing.assert_close(final, parameters_to_vector(Record.trained["module"].parameters()).detach())


@pytest.mark.parametrize("words", [("decay", "1"), ("start", "1"), ("every_n_steps", "0")], ids=lambda words: words[0])
def test_refused(fit: Callable[..., Result], words: tuple[str, str]) -> None:
    result = fit({}, *AVERAGE, f"--callbacks.average.{words[0]}", words[1])
    assert result.code == 2
    assert "decay and start must be in [0, 1) and every_n_steps at least 1, got" in result.err


def test_a_start_needs_an_end(fit: Callable[..., Result]) -> None:
    result = fit({}, *AVERAGE, "--callbacks.average.start", "0.5", "--trainer.max_epochs", "-1")
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert "start needs the number of steps; set trainer.max_epochs or max_steps" in result.err


@pytest.mark.parametrize(("decay", "share"), [(0.999, 9 / 10), (0.05, 1 - 0.05), (0.0, 1.0), (None, 1.0)])
def test_the_first_share_of_the_weights_is_exact(decay: float | None, share: float) -> None:
    callback, (average, new) = WeightAverage(decay), torch.randn(2, 100)
    assert callback.should_update(step_idx=0)
    expected = average.lerp(new, share)
    callback._blend([average], [new], torch.tensor(1))
    assert torch.equal(average, expected)


def test_counters_of_batches_stay_whole() -> None:
    average, count = [torch.tensor([3])], torch.tensor(2)
    WeightAverage()._blend(average, [torch.tensor([5])], count)
    assert average == [5]
