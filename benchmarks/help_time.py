"""Time `train.py --help` against `import lightning`, in turn: python -m benchmarks.help_time [repetitions]."""

import subprocess
import sys
from pathlib import Path

from benchmarks.pairs import compare

TRAIN = str(Path(__file__).resolve().parent.parent / "train.py")


def python(*words: str) -> None:
    """Run a Python process."""
    subprocess.run([sys.executable, *words], check=True, capture_output=True)


def main() -> None:
    """Print both medians and the median of the paired ratios."""
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    imported, helped = lambda: python("-c", "import lightning"), lambda: python(TRAIN, "--help")
    compare("--help over import lightning", "at most 1.1", repetitions, imported=imported, help=helped)


if __name__ == "__main__":
    main()
