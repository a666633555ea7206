"""Make the README's pictures from a real run: python docs/make_pictures.py (needs Chromium; TensorBoard is installed).

The terminal picture shows train.log of a run of configs/digits.yaml, the other one TensorBoard over the same run.
"""

import html
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COMMAND = "python train.py --config configs/digits.yaml"
PORT = 6123
PAGE = """<body style="margin:16px; background: #1e1e2e; color: #cdd6f4; font: 14px/1.45 DejaVu Sans Mono, monospace">
<pre style="margin: 0"><span style="color: #a6e3a1">$</span> {command}\n{text}</pre></body>"""


def photograph(address: str, image: Path, size: str) -> None:
    """Save what headless Chromium shows at an address."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome") or sys.exit("Chromium is not installed")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking"]
    with tempfile.TemporaryDirectory() as profile:
        flags += [f"--user-data-dir={profile}", f"--window-size={size}", "--virtual-time-budget=20000"]
        subprocess.run([chromium, *flags, f"--screenshot={image}", address], check=True, timeout=120)


def main() -> None:
    """Run the example, then photograph what it shows."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, str(ROOT / "train.py"), "--config", str(ROOT / "configs/digits.yaml")]
        subprocess.run(words, cwd=folder, check=True)
        (log,) = Path(folder).rglob("train.log")
        page = Path(folder) / "terminal.html"
        page.write_text(PAGE.format(command=COMMAND, text=html.escape(log.read_text())))
        photograph(page.as_uri(), ROOT / "docs/images/terminal.png", "1040,660")
        server = [sys.executable, "-m", "tensorboard.main", "--logdir", "logs", "--port", str(PORT)]
        with subprocess.Popen(server, cwd=folder) as process:
            try:
                address = f"http://localhost:{PORT}"
                for _ in range(60):
                    try:
                        urllib.request.urlopen(f"{address}/data/runs")
                        break
                    except OSError:
                        time.sleep(1)
                photograph(
                    f"{address}/#scalars&tagFilter=train%7Cval%7Clr",
                    ROOT / "docs/images/tensorboard.png",
                    "1500,1000",
                )
            finally:
                process.terminate()


if __name__ == "__main__":
    main()
