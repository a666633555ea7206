"""What this project's own callbacks send is shown by TensorBoard."""

from pathlib import Path

import pytest

from docs import make_pictures
from trainworks.testing import PLAIN, ROOT, Train


@pytest.mark.browser
def test_a_browser_shows_norms_and_images(train: Train, tmp_path: Path) -> None:
    if make_pictures.find_chromium() is None:
        pytest.skip("Chromium is not installed")
    result = train("fit", "--config", str(ROOT / "configs/digits.yaml"), "--trainer.max_epochs", "1", *PLAIN)
    assert (result.code, result.err) == (0, "")
    with make_pictures.tensorboard(tmp_path / "logs") as address, make_pictures.browser() as page:
        for tab, tag in (("scalars", "norm/gradient"), ("images", "samples/train")):
            page.goto(f"{address}/?show={tab}#{make_pictures.TABS[tab][0]}")
            page.get_by_text(tag).first.wait_for(timeout=60_000)
