"""Train a model, or evaluate one: python train.py [fit|validate|test|predict|...] --config configs/digits.yaml."""
# PYTHON_ARGCOMPLETE_OK

import os
import sys
from importlib.util import find_spec

if __name__ == "__main__":  # loader workers import this file again
    missing = ", ".join(name for name in ("torch", "torchvision", "lightning", "omegaconf") if not find_spec(name))
    if missing or sys.version_info < (3, 11):
        how = "activate your environment (. .venv/bin/activate), or make one of Python 3.11 or newer (pip install -e .)"
        sys.exit(print(f"error: {sys.executable} has no {missing or 'features of 3.11'}; {how}", file=sys.stderr) or 2)
    import trainworks

    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "trainworks")
    if os.path.isdir(beside) and not os.path.samefile(beside, trainworks.__path__[0]):
        sys.exit(f"error: {trainworks.__path__[0]} was imported instead of {beside}; look at PYTHONPATH")
    from trainworks.cli.main import run_and_leave

    run_and_leave(sys.argv[1:])
