"""What a person sees of a short run: TensorBoard in a real browser, and what its files hold."""

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from docs.make_pictures import TABS, browser, find_chromium, open_tab, tensorboard
from trainworks.cli.main import main
from trainworks.tests.conftest import DIGITS

ALL_TEXT = """() => {
    const texts = [];
    const walk = node => {
        if (node.nodeType === Node.TEXT_NODE) texts.push(node.textContent.trim());
        for (const child of node.childNodes) walk(child);
        if (node.shadowRoot) walk(node.shadowRoot);
    };
    walk(document.body);
    return texts.join(' ');
}"""
SCREENSHOTS = os.environ.get("SCREENSHOTS")  # a folder to keep them in


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two runs of two epochs, with everything at its default."""
    folder, before = tmp_path_factory.mktemp("tensorboard"), Path.cwd()
    os.chdir(folder)
    words = ["--config", DIGITS, "--trainer.max_epochs", "2", "--run_name"]
    assert main([*words, "a"]) == 0
    assert main([*words, "b", "--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", "0.2"]) == 0
    os.chdir(before)
    yield folder / "logs"


@pytest.fixture(scope="module")
def events(logs: Path) -> EventAccumulator:
    return EventAccumulator(str(logs / "digits/a"), size_guidance={"scalars": 0, "images": 0, "tensors": 0}).Reload()


@pytest.fixture(scope="module")
def record(logs: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((logs / "digits/a/run.json").read_text())
    return content


def last(events: EventAccumulator, tag: str) -> float:
    return float(events.Scalars(tag)[-1].value)


def text(events: EventAccumulator, tag: str) -> str:
    return str(make_ndarray(events.Tensors(f"{tag}/text_summary")[0].tensor_proto)[0].decode())


def test_every_panel_has_its_tags(events: EventAccumulator) -> None:
    tags = events.Tags()
    shares = ("data", "transfer", "forward", "backward", "optimizer", "other")
    parts = (*shares, "samples_per_second", "peak_share", "gflop_per_step")
    learning = {"lr", "train/loss_step", "best/val/loss", "epoch"}
    metrics = {f"{stage}/{name}" for stage in ("train", "val", "test") for name in ("loss", "accuracy")}
    assert set(tags["scalars"]) == {f"speed/{part}" for part in parts} | learning | metrics
    figures = ("confusion_matrix", "accuracy_by_class", "precision_recall", "calibration", "mistakes")
    assert set(tags["images"]) == {f"{name}/{stage}" for name in figures for stage in ("val", "test")}
    curves = {f"pr_curve/{stage}/{k}" for stage in ("val", "test") for k in range(10)}
    texts = {f"{name}/text_summary" for name in ("config", "parameters", "run")}
    assert set(tags["tensors"]) == curves | texts | {"custom_scalars__config__", "_hparams_/session_start_info"}
    assert tags["graph"]


def test_values_are_those_of_the_training(events: EventAccumulator, record: dict[str, Any]) -> None:
    for name, value in record["metrics"].items():
        assert last(events, name) == pytest.approx(value)
    losses = [event.value for event in events.Scalars("val/loss")]
    assert [event.value for event in events.Scalars("best/val/loss")] == [losses[0], min(losses)]
    assert last(events, "best/val/loss") == pytest.approx(record["best"]["val/loss"])
    shares = [
        last(events, f"speed/{part}") for part in ("data", "transfer", "forward", "backward", "optimizer", "other")
    ]
    assert sum(shares) == pytest.approx(1.0, abs=1e-5)
    assert min(shares) >= 0 and last(events, "speed/forward") > 0 and last(events, "speed/samples_per_second") > 0


def test_texts_say_what_the_run_is(events: EventAccumulator, logs: Path) -> None:
    config = (logs / "digits/a/config.yaml").read_text()
    assert text(events, "config") == f"```yaml\n{config}\n```"
    run = json.loads(text(events, "run").removeprefix("```json").removesuffix("```"))
    assert run == json.loads((logs / "digits/a/run.json").read_text())
    table = text(events, "parameters").splitlines()
    assert table[-1] == "| total | | 26,394 | |"
    assert "| net.head.weight | 10 x 64 | 640 | yes |" in table


def test_figures_have_their_size(events: EventAccumulator) -> None:
    (event,) = events.Images("confusion_matrix/test")
    assert Image.open(io.BytesIO(event.encoded_image_string)).size == (700, 700)


def test_precision_and_recall_agree_with_the_confusions(events: EventAccumulator, record: dict[str, Any]) -> None:
    rows = [make_ndarray(events.Tensors(f"pr_curve/test/{k}")[-1].tensor_proto) for k in range(10)]
    positives, thresholds = [int(row[0, 0]) for row in rows], rows[0].shape[1]
    assert sum(positives) == 359 and thresholds == 50  # at threshold 0 all are found
    for true_positive, false_positive, _, false_negative, precision, recall in rows:
        found = true_positive + false_positive
        assert precision == pytest.approx(true_positive / np.maximum(found, 1))
        assert recall == pytest.approx(true_positive / (true_positive + false_negative))
        assert (np.diff(recall) <= 1e-6).all()


@pytest.mark.browser
@pytest.mark.skipif(find_chromium() is None, reason="Chromium is not installed")
def test_a_browser_shows_it(logs: Path, record: dict[str, Any], tmp_path: Path) -> None:
    folder = Path(SCREENSHOTS or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    with tensorboard(logs) as address, browser() as page:
        shown = {}
        for tab in TABS:
            open_tab(page, address, tab)
            page.screenshot(path=folder / f"{tab}.png")
            assert np.asarray(Image.open(folder / f"{tab}.png").convert("L")).std() > 10
            shown[tab] = page.evaluate(ALL_TEXT)
            if tab == "images":
                widths = page.locator("img").evaluate_all("images => images.map(image => image.naturalWidth)")
                assert len(widths) >= 10 and min(widths) > 0
        get = "tag => fetch('data/plugin/scalars/scalars?run=digits%2Fa&tag=' + tag).then(answer => answer.json())"
        curve = page.evaluate(get, "val%2Faccuracy")
    assert curve[-1][2] == pytest.approx(record["metrics"]["val/accuracy"])
    for tag in ("best/val/loss", "lr", "test/accuracy", "train/loss", "val/accuracy"):
        assert tag in shown["scalars"], tag
    for tag in ("confusion_matrix/val", "mistakes/test"):
        assert tag in shown["images"], tag
    assert "is it learning" in shown["custom_scalars"] and "Matches (4)" in shown["custom_scalars"]
    assert "pr_curve/test/0" in shown["pr_curves"]
    assert "DigitsDataModule" in shown["text"] and "SmallCNN" in shown["graphs"]
    for word in ("digits/a", "digits/b", "model.optimizer.lr", "0.0050000", "0.20000", "AdamW", "SGD"):
        assert word in shown["hparams"], word
    assert f"{record['best']['val/loss']:.5g}" in shown["hparams"]
    assert yaml.safe_load((logs / "digits/b/config.yaml").read_text())["seed_everything"] == 0
