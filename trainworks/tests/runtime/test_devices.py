from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml

from trainworks.runtime.devices import allow_tf32
from trainworks.tests.conftest import CONFIGS, DIGITS, QUICK, Train
from trainworks.tests.test_exact_resume import NET, SHORT, STEPS, interrupted, state  # noqa: F401

OVERLAYS = CONFIGS / "overlays"


@pytest.fixture
def flags() -> Iterator[Callable[[], tuple[bool, bool]]]:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield lambda: (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.filterwarnings("ignore:Please use the new API settings")  # torch 2.9 to 2.11
def test_tf32_is_a_matter_of_cuda_alone(flags: Callable[[], tuple[bool, bool]]) -> None:
    before = flags()
    allow_tf32("cpu", not before[0])
    assert flags() == before
    allow_tf32("cuda", True)
    assert flags() == (True, True)
    assert torch.get_float32_matmul_precision() == "high"  # what Lightning looks at
    assert torch.backends.mkldnn.matmul.fp32_precision not in ("tf32", "bf16")  # type: ignore[attr-defined]
    allow_tf32("cuda", False)
    assert flags() == (False, False)


@pytest.mark.parametrize("words", [(), ("--tf32", "false")])
def test_the_switch_reaches_it(train: Train, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    asked = []
    monkeypatch.setattr("trainworks.runtime.devices.allow_tf32", lambda *given: asked.append(given))
    assert train("fit", "--config", DIGITS, "--trainer.fast_dev_run", "true", *words).code == 0
    assert asked == [(torch.device("cuda" if torch.cuda.is_available() else "cpu").type, not words)]


def test_fp16_on_a_cpu_is_bf16_and_says_so(train: Train) -> None:
    words = ("--config", str(OVERLAYS / "fp16.yaml"), "--trainer.accelerator", "cpu")
    result = train("fit", "--config", DIGITS, *words, *QUICK)
    assert (result.code, result.err) == (0, "")
    assert result.out.count("a CPU has no 16-mixed: bf16-mixed is used") == 1


@pytest.mark.parametrize("able", [True, False])
def test_bf16_on_a_device_without_it_says_so(train: Train, monkeypatch: pytest.MonkeyPatch, able: bool) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx2": True, "avx512_bf16": able})
    words = ("--config", str(OVERLAYS / "bf16.yaml"), "--trainer.accelerator", "cpu")
    result = train("fit", "--config", DIGITS, *words, *QUICK)
    assert (result.code, result.err) == (0, "")
    assert result.out.count("this cpu has no bfloat16 of its own: trainer.precision 32 is likely") == (not able)


SCALED = {  # as on a GPU, which the tests have not
    "class_path": "lightning.pytorch.plugins.MixedPrecision",
    "init_args": {"precision": "16-mixed", "device": "cpu", "scaler": {
        "class_path": "torch.amp.GradScaler", "init_args": {"device": "cpu", "growth_interval": 3}}},
}  # fmt: skip


@pytest.mark.kills
def test_a_scaled_loss_continues_exactly(
    interrupted: Callable[..., list[str]],  # noqa: F811
    tmp_path: Path,
) -> None:
    """The scale itself too, which grows every third step here; and gradients are clipped, and watched, unscaled."""
    trainer = {"plugins": [SCALED], "gradient_clip_val": 1.0}
    (tmp_path / "case.yaml").write_text(yaml.safe_dump({"trainer": trainer}))
    interrupted(DIGITS, *SHORT, *NET, *STEPS, "--config", "case.yaml", bombs=("batch:5", "epoch_start:1"))
    scaler = state(Path("logs/digits/cut"))["MixedPrecision"]
    assert scaler["scale"] != 2.0**16
    assert scaler["growth_interval"] == 3


@pytest.mark.long
def test_deterministic_algorithms_are_asked_for(train: Train) -> None:
    words = ("--config", str(OVERLAYS / "deterministic.yaml"), "--trainer.accelerator", "cpu")
    result = train("--config", DIGITS, *words, "--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2")
    assert (result.code, result.err) == (0, "")
    assert torch.are_deterministic_algorithms_enabled()  # the figures have put it back
    assert not torch.backends.cudnn.benchmark
