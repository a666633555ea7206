"""Train a config with several seeds and print each test accuracy, mean and time.

python -m benchmarks.seeds configs/digits.yaml [number of seeds] [further words for train.py]
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Run the command whole, once a seed."""
    config, count, words = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5, sys.argv[3:]
    accuracies, times = [], []
    for seed in range(count):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, str(ROOT / "train.py"), "--config", str(Path(config).resolve())]
            command += ["--seed_everything", str(seed), *words]
            done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
            (record,) = Path(folder).rglob("run.json")
            accuracies.append(json.loads(record.read_text())["metrics"]["test/accuracy"])
            times.append(float(done.stdout.split("seconds")[1].split()[0]))
        print(f"seed {seed}  test/accuracy {accuracies[-1]:.4f}  {times[-1]:.1f} s", flush=True)
    print(f"mean test/accuracy {statistics.mean(accuracies):.4f}  median time {statistics.median(times):.1f} s")


if __name__ == "__main__":
    main()
