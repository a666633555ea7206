"""Averages of weights: their values, and that validation, test and checkpoints use them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from trainworks.callbacks.weight_average import WeightAverage
from trainworks.models import load_model
from trainworks.tests.conftest import Result, Train
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
    callback._first_step = 5
    callback.load_state_dict({"latest_update_step": 5})
    assert callback.should_update(5)
    expected = average.lerp(new, share)
    callback._blend([average], [new])
    assert torch.equal(average, expected)


def test_counters_of_batches_stay_whole() -> None:
    average = [torch.tensor([3])]
    WeightAverage()._blend(average, [torch.tensor([5])])
    assert average == [5]


STRANGE = """
data: {class_path: trainworks.tests.strangers.OwnData}
trainer: {max_epochs: 2, accelerator: cpu, log_every_n_steps: 2}
callbacks:
  figures: null
  notes: null
  average: {class_path: trainworks.callbacks.WeightAverage, init_args: {decay: 0}}
"""


@pytest.fixture
def strange(train: Train, tmp_path: Path) -> Train:
    """Train a module of trainworks/tests/strangers.py; with a decay of 0 the average is the last weights."""
    (tmp_path / "plain.yaml").write_text(STRANGE)
    base = ("fit", "--config", "plain.yaml", "--run_name", "a")
    return lambda model, *words: train(*base, "--model", f"trainworks.tests.strangers.{model}", *words)


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
@pytest.mark.parametrize("model", ["Grows", "MadeInSetup", "FrozenBackbone"])
def test_networks_that_are_made_late_change_or_leave_parts_out(strange: Train, train: Train, model: str) -> None:
    """Buffers of another shape, a network of setup, weights that no deepcopy takes, a state_dict of one's own."""
    assert strange(model).code == 0
    path = Path("logs/plain/a/checkpoints/last.ckpt")
    assert train("--resume", "logs/plain/a", "--trainer.max_epochs", "3").code == 0
    resumed = torch.load(path, weights_only=True)
    assert strange(model, "--callbacks.average", "null", "--trainer.max_epochs", "3", "--run_name", "b").code == 0
    plain = torch.load(str(path).replace("/a/", "/b/"), weights_only=True)["state_dict"]
    for key in ("state_dict", "current_model_state"):
        assert resumed[key].keys() == plain.keys()
        assert all(resumed[key][name].shape == value.shape for name, value in plain.items())
    if model == "Grows":
        assert resumed["state_dict"]["bank"].shape == (60,) and resumed["state_dict"]["late"].tolist() == [1, 1]
        assert resumed["state_dict"]["mean"] == resumed["state_dict"]["bank"].mean() + 1
    if model == "MadeInSetup":
        assert "layer.0.weight" in plain


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
@pytest.mark.filterwarnings("ignore:.*this fit will run with no optimizer")
def test_without_an_optimizer_there_is_nothing_to_average(strange: Train) -> None:
    result = strange("Untrained")
    assert (result.code, "Traceback" in result.err) == (2, False)
    assert "error: Untrained has no optimizer, so WeightAverage has no use; leave it out\n" in result.err
