"""A network compiled in place; the compiler's cache is shared by these tests, since it takes seconds."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from trainworks.callbacks.compile import Compile, _check_compiler
from trainworks.tests.cli.test_main import best_weights
from trainworks.tests.conftest import CONFIGS, DIGITS, PLAIN, Train
from trainworks.tests.test_exact_resume import SHORT, STEPS, interrupted, scalars, state  # noqa: F401

OVERLAYS = CONFIGS / "overlays"
COMPILE = ("--config", str(OVERLAYS / "compile.yaml"))
NET = ("--model.net.layers", "[4, M, 8]")
FIT = ("--config", DIGITS, *NET, "--trainer.limit_train_batches", "3", "--model.scheduler", "null", *PLAIN)
FEW = ("--trainer.limit_val_batches", "2", "--trainer.limit_test_batches", "2", "--trainer.num_sanity_val_steps", "0")
EAGER = ("--callbacks.compile.backend", "eager")

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # torch 2.11's compiler warns


def has_compiler() -> bool:
    try:
        _check_compiler()
    except ValueError:
        return False
    return sys.platform != "win32"


needs_compiler = pytest.mark.skipif(not has_compiler(), reason="no C++ compiler, or no Python.h")


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("inductor")))
        yield


@pytest.fixture(autouse=True)
def _reset() -> Iterator[None]:
    """Forget compiled code, which one process keeps for all its networks, up to a limit."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


class Reset(Callback):
    """Makes a run forget what was compiled before it, as a process of its own has nothing."""

    def setup(self, *_: Any, **__: Any) -> None:
        torch.compiler.reset()


RESET = "--callbacks.reset=trainworks.tests.callbacks.test_compile.Reset"


def run(name: str = "a") -> Path:
    return Path("logs/digits") / name


@pytest.mark.long
@needs_compiler
def test_with_and_without_are_the_same_checkpoints(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """One trains, the other goes on, tests and predicts; and the compiler really was at work."""
    calls = []
    compiled = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self, **given: (calls.append(given), compiled(self, **given)))
    first = train(*FIT, *FEW, *COMPILE, "--trainer.max_epochs", "1", "--run_name", "a")
    assert (first.code, first.err) == (0, "")
    assert calls == [{"dynamic": False, "fullgraph": False, "backend": "inductor", "mode": "default"}]
    assert train(*FIT, *FEW, "--trainer.max_epochs", "1", "--run_name", "b").code == 0
    one, other = best_weights(run()), best_weights(run("b"))
    assert list(one) == list(other)
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-3, atol=1e-3)
    scores = []
    for words in ((), ("--callbacks.compile", "null")):
        result = train("test", "--config", DIGITS, "--run_name", "a", *words)
        assert (result.code, result.err) == (0, "")
        scores.append(next(line for line in result.out.splitlines() if line.startswith("test/loss")))
    assert float(scores[0].split()[1]) == pytest.approx(float(scores[1].split()[1]), abs=2e-4)
    assert train("predict", "--config", DIGITS, "--run_name", "b", *COMPILE).code == 0
    assert len((run("b") / "predictions.csv").read_text().splitlines()) == 360
    for name, words in (("a", ("--callbacks.compile", "null")), ("b", COMPILE)):
        result = train("fit", *FIT, *FEW, "--trainer.max_epochs", "2", "--run_name", name, "--resume", "auto", *words)
        assert result.code == 0, result.err
        assert "callbacks.compile" in result.out and "will not be bit by bit the same" in result.out
        assert state(run(name))["global_step"] == 6
        assert list(best_weights(run(name))) == list(one)


@pytest.mark.kills
@needs_compiler
def test_a_compiled_run_continues_exactly(interrupted: Callable[..., list[str]]) -> None:  # noqa: F811
    """With other overlays, sanity validation (a run that continues has none), and a smaller last batch."""
    paths = [str(OVERLAYS / f"{name}.yaml") for name in ("bf16", "channels_last", "ema")]
    words = (
        *SHORT,
        *NET,
        "--model.net.dropout",
        "0.3",
        *STEPS,
        *COMPILE,
        "--callbacks.reset",
        "trainworks.tests.callbacks.test_compile.Reset",
    )
    others = [word for path in paths for word in ("--config", path)]
    interrupted(DIGITS, *words, *others, "--trainer.limit_val_batches", "3", bombs=("batch:5", "epoch_start:2"))
    kernel = best_weights(run("cut"))["net.features.4.weight"]
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    assert kernel.dtype == torch.float32


@pytest.mark.long
def test_what_looks_into_the_network_finds_it_as_it_is(train: Train) -> None:
    """Operations are counted, mistakes shown and layers watched without the compiler."""
    words = (
        "fit",
        "--config",
        DIGITS,
        *COMPILE,
        *EAGER,
        "--trainer.max_epochs",
        "1",
        "--trainer.log_every_n_steps",
        "1",
    )
    result = train(*words, *NET, "--trainer.limit_train_batches", "3", "--run_name", "a")
    assert (result.code, result.err) == (0, "")
    curves = scalars(run(), but="")
    assert curves["speed/gflop_per_step"][0][1] > 0
    events = EventAccumulator(str(run()))
    events.Reload()
    assert events.Tags()["graph"]


DETECTION = str(CONFIGS / "detection.yaml")


@pytest.mark.long
def test_of_a_detector_the_backbone_is_compiled(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **_: parts.append(type(self).__name__))
    words = ("fit", "--config", DETECTION, *COMPILE, *EAGER, "--data.batch_size", "2", "--trainer.fast_dev_run", "true")
    assert train(*words).code == 0
    assert parts == ["SmallPyramid"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--callbacks.compile.part", "body"), "callbacks.compile.part: SmallCNN has no 'body'; it has "),
        (("--callbacks.compile.mode", "fast"), "mode: expected 'default', 'reduce-overhead'"),
    ],
)
def test_mistakes(train: Train, words: tuple[str, ...], message: str) -> None:
    result = train("fit", *FIT, *COMPILE, *words, "--trainer.fast_dev_run", "true")
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err


def test_a_missing_compiler_is_named_before_the_first_batch(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    result = train("fit", *FIT, *COMPILE, "--trainer.fast_dev_run", "true", "--trainer.accelerator", "cpu")
    assert result.code == 2
    assert "Compile: no C++ compiler, looked for no-such-compiler; install it, name one in CXX, or" in result.err


def test_a_module_without_net_is_refused() -> None:
    with pytest.raises(ValueError, match="Compile: ReLU holds no network"):
        Compile().setup(None, nn.ReLU(), "fit")  # type: ignore[arg-type]


def test_other_backends_take_no_mode() -> None:
    given: dict[str, Any] = Compile(backend="eager", dynamic=True).options
    assert given == {"dynamic": True, "fullgraph": False, "backend": "eager"}
