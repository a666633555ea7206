"""Every overlay on one CUDA device: pytest -m gpu."""

import json
from pathlib import Path

import pytest
import torch

from trainworks.testing import ROOT, Train

OVERLAYS = [path for path in sorted((ROOT / "configs/overlays").glob("*.yaml")) if path.stem != "multinode"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.stem)
def test_digits_are_learned_with(train_process: Train, tmp_path: Path, overlay: Path) -> None:
    # given after the overlay, which may be written for more devices
    words = ("--config", str(overlay), "--trainer.accelerator", "gpu", "--trainer.devices", "1", "--run_name", "a")
    result = train_process("--config", str(ROOT / "configs/digits.yaml"), *words)
    assert result.code == 0, result.err
    if overlay.stem not in ("debug", "overfit"):
        record = json.loads((tmp_path / "logs/digits/a/run.json").read_text())
        assert record["metrics"]["test/accuracy"] > 0.97
