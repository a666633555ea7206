"""python train.py find_lr --config C: try learning rates from small to large, and suggest one."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from lightning.pytorch.tuner.tuning import Tuner

from trainworks.cli.builder import CLI
from trainworks.cli.request import log_root
from trainworks.errors import RunFailure, UsageError

SKIPPED = 10  # steps at the beginning: the first of Lightning's smoothed losses are too small


def find_lr(cli: CLI) -> None:
    """Train with a rate that grows in each step with Lightning's finder, draw the loss, and print what to type.

    Its own suggestion is where the loss falls fastest by the rate itself, which is nearly always too small a rate.
    """
    if not cli.model.automatic_optimization:
        raise UsageError(f"find_lr needs automatic optimization, and {type(cli.model).__name__} steps by hand")
    found = Tuner(cli.trainer).lr_find(
        cli.model, datamodule=cli.datamodule, min_lr=1e-7, max_lr=1.0, num_training=100, update_attr=False
    )
    assert found is not None
    if not cli.trainer.is_global_zero:
        return
    rates, losses = (np.asarray(found.results[name][SKIPPED:]) for name in ("lr", "loss"))
    finite = np.isfinite(losses)
    if not finite.any():
        raise RunFailure(f"find_lr: no loss of {len(losses)} steps is finite; python train.py check reads the data")
    rates, losses = rates[finite], losses[finite]
    suggested = float(rates[losses.argmin()]) / 10
    file = Path(log_root(cli.request.config), cli.request.config["experiment"], "find_lr.png")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    axes.plot(rates, losses)
    axes.axvline(suggested, linestyle="--", color="tab:red", label=f"suggested: {suggested:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="smoothed training loss")
    axes.set_ylim(losses.min() - 0.05 * abs(losses.min()), 1.1 * losses[: len(losses) // 2 + 1].max())
    axes.legend()
    figure.savefig(file, dpi=120)
    plt.close(figure)
    print(f"\n{len(losses)} rates from {rates[0]:.1e} to {rates[-1]:.1e}: {file}")
    optimizer = cli.config_dump["model"]["init_args"].get("optimizer")
    typed = isinstance(optimizer, dict) and "lr" in (optimizer.get("init_args") or {})
    print(f"a tenth of the rate with the lowest loss: {'--model.optimizer.lr ' if typed else ''}{suggested:.2g}")
