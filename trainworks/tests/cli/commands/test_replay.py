import re
from pathlib import Path

import numpy as np
import pytest

from trainworks.tests.conftest import CONFIGS, Train

ARRAYS = str(CONFIGS / "arrays.yaml")
COMPILE = ("--config", str(CONFIGS / "overlays/compile.yaml"), "--callbacks.compile.backend", "eager")


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # torch 2.11's compiler warns of itself
@pytest.mark.parametrize("more", [(), COMPILE], ids=["plain", "compiled"])
def test_samples_that_are_not_finite_themselves_are_named(train: Train, tmp_path: Path, more: tuple[str, ...]) -> None:
    inputs = np.random.default_rng(0).random((200, 5), dtype=np.float32)
    inputs[77, 2] = np.nan
    np.savez(tmp_path / "a.npz", inputs=inputs, targets=np.arange(200) % 2)
    words = (
        "--data.train",
        "a.npz",
        "--data.val_fraction",
        "0",
        "--data.test_fraction",
        "0",
        "--callbacks.best",
        "null",
    )
    result = train("--config", ARRAYS, *more, *words, "--data.batch_size", "10", "--run_name", "a")
    assert result.code == 1
    batch = re.search(r"\(batch (\d+) of the run", result.err)
    assert batch is not None
    result = train("replay", "--resume", "logs/arrays/a", "--batch", batch[1])
    assert result.code == 0, result.err
    assert "inputs that are not finite: 1 samples: sample 77" in result.out
    assert "from inputs that were not finite already" in result.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch", "many"], "--batch must be a number of at least 0, got many"),
        ([], "replay needs --batch N"),
    ],
)
def test_mistakes(train: Train, tmp_path: Path, words: list[str], message: str) -> None:
    (tmp_path / "config.yaml").write_text("a: 1")
    result = train("replay", "--resume", str(tmp_path), *words)
    assert result.code == 2
    assert message in result.err
