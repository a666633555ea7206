import re
from pathlib import Path

from PIL import Image

from trainworks.tests.conftest import CONFIGS, DIGITS, PLAIN, Train


def test_a_rate_is_suggested_and_no_run_is_left(train: Train, tmp_path: Path) -> None:
    result = train("find_lr", "--config", DIGITS, *PLAIN)
    assert result.code == 0, result.err
    (rate,) = re.findall(r"lowest loss: --model.optimizer.lr (\S+)$", result.out, re.MULTILINE)
    assert 1e-3 < float(rate) < 0.2  # the digits are learned with 0.01
    with Image.open("logs/digits/find_lr.png") as picture:
        assert picture.width > 500
    assert [path.name for path in (tmp_path / "logs/digits").iterdir()] == ["find_lr.png"]


def test_what_steps_by_hand_is_refused(train: Train) -> None:
    result = train("find_lr", "--config", str(CONFIGS / "gan.yaml"))
    assert (result.code, "find_lr needs automatic optimization, and GANModule steps by hand" in result.err) == (2, True)
