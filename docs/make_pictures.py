"""Make the README's pictures from real runs: python -m docs.make_pictures (needs Chromium and the dev extra).

The terminal picture shows train.log of a run of configs/digits.yaml, predictions.jpg what a detector finds in new
scenes, the others what TensorBoard shows of the first run.
"""

import html
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image
from torchvision.utils import make_grid

ROOT = Path(__file__).resolve().parent.parent
COMMAND = "python train.py --config configs/digits.yaml"
TERMINAL = """<body style="margin:16px; background: #1e1e2e; color: #cdd6f4; font: 14px/1.45 DejaVu Sans Mono">
<pre style="margin: 0"><span style="color: #a6e3a1">$</span> {command}\n{text}</pre></body>"""
TABS = {  # address behind #, and a text that is there once the tab is
    "timeseries": ("timeseries&tagFilter=accuracy$%7Closs$", "best/val/loss"),
    "scalars": ("scalars&tagFilter=best%7Clr%7Cgradient%7Caccuracy%7Closs$", "best/val/loss"),
    "custom_scalars": ("custom_scalars", "shares of a step"),
    "images": ("images&tagFilter=confusion%7Cmistakes%7Csamples", "mistakes/test"),
    "graphs": ("graphs", "Main Graph"),
    "text": ("text", "seed_everything"),
    "pr_curves": ("pr_curves", "pr_curve/test/"),
    "hparams": ("hparams", "best/val/loss"),
}


def find_chromium() -> str | None:
    """Return the path of an installed Chromium, None if there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def tensorboard(folder: Path) -> Iterator[str]:
    """Serve the event files below a folder; yields the address."""
    server = [sys.executable, "-m", "tensorboard.main", "--logdir", folder.name, "--port", "0", "--host", "localhost"]
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True, "cwd": folder.parent}
    with subprocess.Popen(server, **options) as process:
        try:
            assert process.stderr is not None
            yield next(found[0] for line in process.stderr if (found := re.search(r"http://localhost:\d+", line)))
        finally:
            process.terminate()


@contextmanager
def browser(width: int = 1500, height: int = 1000) -> Iterator[Page]:
    """Open headless Chromium; yields a page."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        yield chromium.new_page(viewport={"width": width, "height": height})
        chromium.close()


def open_tab(page: Page, address: str, tab: str) -> None:
    """Show one of TensorBoard's tabs and wait until it is there."""
    place, text = TABS[tab]
    page.goto(f"{address}/?show={tab}#{place}")  # the query makes it load anew
    page.get_by_text(text).first.wait_for(timeout=60_000)
    page.wait_for_timeout(3000)  # charts and images are drawn after their titles


def draw_predictions(images: Path) -> None:
    """Train a detector, let `predict --draw` loose on new scenes, and arrange what it draws."""
    from src.datamodules.digit_scenes import DigitScenesDataModule  # which a clone may have deleted

    data = DigitScenesDataModule(targets="boxes", num_train=1, num_val=1, num_test=6, scene_seed=7)
    data.load()
    with tempfile.TemporaryDirectory() as folder:
        new = Path(folder) / "new"
        new.mkdir()
        for number in range(6):
            scene = to_pil_image(data.splits["test"][number][0])
            scene.resize((256, 256), Image.Resampling.BICUBIC).save(new / f"{number}.png")
        words = [sys.executable, str(ROOT / "train.py")]
        config = ["--config", str(ROOT / "configs/detection.yaml"), "--run_name", "a"]
        subprocess.run([*words, "fit", *config], cwd=folder, check=True)
        drawn = ["--input", "new", "--output", "out.csv", "--draw", "true"]
        subprocess.run([*words, "predict", *config, *drawn], cwd=folder, check=True)
        found = [pil_to_tensor(Image.open(path)) for path in sorted(Path(folder, "out_drawn").glob("*.png"))]
    to_pil_image(make_grid(found, nrow=6, padding=6, pad_value=255)).save(images / "predictions.jpg", quality=88)


def main() -> None:
    """Run the example, then photograph what it shows."""
    images = ROOT / "docs" / "images"
    draw_predictions(images)
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, str(ROOT / "train.py"), "--config", str(ROOT / "configs/digits.yaml")]
        for run in (["--run_name", "a"], ["--run_name", "b", "--model.optimizer.lr", "0.002"]):
            subprocess.run([*words, *run], cwd=folder, check=True)
        log = (Path(folder) / "logs/digits/a/train.log").read_text()
        terminal = Path(folder) / "terminal.html"
        terminal.write_text(TERMINAL.format(command=COMMAND, text=html.escape(log)))
        with browser(1060, 680) as page:
            page.goto(terminal.as_uri())
            page.screenshot(path=images / "terminal.png")
        with tensorboard(Path(folder) / "logs") as address, browser() as page:
            for tab in ("scalars", "images", "custom_scalars", "hparams"):
                open_tab(page, address, tab)
                page.screenshot(path=images / f"{tab}.png")


if __name__ == "__main__":
    main()
