"""Train a model, or evaluate one: python train.py [fit|validate|test|predict|...] --config configs/digits.yaml."""
# PYTHON_ARGCOMPLETE_OK

import os
import sys

if __name__ == "__main__":  # loader workers import this file again
    import trainworks

    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "trainworks")
    if os.path.isdir(beside) and not os.path.samefile(beside, trainworks.__path__[0]):
        sys.exit(f"error: {trainworks.__path__[0]} was imported instead of {beside}; look at PYTHONPATH")
    from trainworks.cli.main import run_and_leave

    run_and_leave(sys.argv[1:])
