"""Time `train.py --help` against `import lightning`, in turn: python -m benchmarks.help_time [repetitions]."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def seconds(*words: str) -> float:
    """Return how long a Python process takes."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Print both medians and the median of the paired ratios; the goal is at most 1.1."""
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    pairs = [(seconds(str(ROOT / "train.py"), "--help"), seconds("-c", "import lightning")) for _ in range(repetitions)]
    ratios = sorted(ours / theirs for ours, theirs in pairs)
    print(f"--help            {statistics.median(pair[0] for pair in pairs):6.2f} s")
    print(f"import lightning  {statistics.median(pair[1] for pair in pairs):6.2f} s")
    spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f} over {len(ratios)} pairs"
    print(f"ratio             {statistics.median(ratios):6.2f}    ({spread})")


if __name__ == "__main__":
    main()
