"""What docs/training.md shows works as it stands."""

import re
from pathlib import Path

import pytest
import yaml

from trainworks.testing import ROOT, Train

DIGITS = str(ROOT / "configs/digits.yaml")

TEXT = (ROOT / "docs" / "training.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
OTHER_IMAGES = ("torchvision.models", "timm")  # networks that the digits are too small for


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: " ".join(re.findall(r"[\w.]*\.(\w+)", block)[:2]) or "none")
def test_block_runs(train: Train, tmp_path: Path, block: str) -> None:
    if "timm" in block:
        pytest.importorskip("timm")
    (tmp_path / "change.yaml").write_text(block)
    short = ("--print_config",) if any(name in block for name in OTHER_IMAGES) else ("--trainer.fast_dev_run", "true")
    result = train("fit", "--config", DIGITS, "--config", "change.yaml", *short)
    assert (result.code, result.err) == (0, "")
    if "--print_config" in short:
        net = yaml.safe_load(result.out)["model"]["init_args"]["net"]
        assert net["class_path"] in block


def test_every_part_is_shown() -> None:
    assert len(BLOCKS) >= 15


def test_arguments_of_a_loss_that_is_typed_again_are_unset_as_the_page_says(train: Train, tmp_path: Path) -> None:
    (tmp_path / "change.yaml").write_text(BLOCKS[0])
    config = ("fit", "--config", DIGITS, "--config", "change.yaml", "--model.loss", "torch.nn.CrossEntropyLoss")
    unset = [text.split() for text in re.findall(r"`(--model.loss.(?:weight|label_smoothing) \w+)`", TEXT)]
    assert len(unset) == 2
    for words, expected in (([], ([1] * 8 + [2] * 2, 0.1)), ([*unset[0], *unset[1]], (None, 0.0))):
        shown = yaml.safe_load(train(*config, *words, "--print_config").out)["model"]["init_args"]["loss"]["init_args"]
        assert (shown["weight"], shown["label_smoothing"]) == expected
