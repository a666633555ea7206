from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from trainworks.tests.cli.test_main import best_weights
from trainworks.tests.conftest import CONFIGS, DIGITS, Train
from trainworks.tests.test_exact_resume import NET, SHORT, STEPS, interrupted, state  # noqa: F401

LAST = ("--config", str(CONFIGS / "overlays/channels_last.yaml"))


def is_last(tensor: Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


@pytest.mark.long
def test_images_follow_the_kernels(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every convolution but the first (one channel: both layouts in one) gives channels_last, and weights learn so."""
    seen = []
    forward = nn.Conv2d.forward

    def look(self: nn.Conv2d, images: Tensor) -> Tensor:
        seen.append((self.in_channels, forward(self, images)))
        return seen[-1][1]

    monkeypatch.setattr(nn.Conv2d, "forward", look)
    segmentation = ("--config", str(CONFIGS / "segmentation.yaml"), "--data.batch_size", "2")
    result = train("fit", *segmentation, *LAST, "--model.net.widths", "[4, 8]", "--trainer.fast_dev_run", "true")
    assert (result.code, result.err) == (0, "")
    assert len(seen) > 8
    assert all(is_last(output) for _, output in seen)


@pytest.mark.kills
def test_it_continues_exactly_with_the_optimizer_laid_out_alike(
    interrupted: Callable[..., list[str]],  # noqa: F811
) -> None:
    interrupted(DIGITS, *SHORT, *NET, *STEPS, *LAST, bombs=("batch:5", "epoch_start:2"))
    checkpoint = state(Path("logs/digits/cut"))
    assert is_last(checkpoint["state_dict"]["net.features.4.weight"])
    moments = [s["exp_avg"] for s in checkpoint["optimizer_states"][0]["state"].values() if s["exp_avg"].ndim == 4]
    assert any(is_last(moment) for moment in moments)


@pytest.mark.long
def test_with_and_without_are_the_same_checkpoints(train: Train) -> None:
    """A run goes on in the other layout too, and comes to the same weights but for rounding."""
    words = ("fit", "--config", DIGITS, "--model.scheduler", "null", *NET[:2], "--trainer.limit_train_batches", "3")
    for name, later in (("a", ()), ("b", LAST)):
        assert train(*words, "--trainer.max_epochs", "1", "--run_name", name).code == 0
        result = train(*words, "--trainer.max_epochs", "2", "--run_name", name, "--resume", "auto", *later)
        assert result.code == 0, result.err
    one, other = (best_weights(Path("logs/digits") / name) for name in "ab")
    assert is_last(other["net.features.4.weight"])
    for name, value in one.items():
        if "num_batches" not in name and "weight" in name:
            torch.testing.assert_close(value, other[name], rtol=1e-2, atol=2e-3)
