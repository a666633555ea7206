from pathlib import Path
from typing import Any

from trainworks.cli.command import TRUST, Command
from trainworks.cli.defaults import log_root
from trainworks.errors import RunFailure, UsageError

SKIPPED = 10  # steps at the beginning: the first of Lightning's smoothed losses are too small


def find_lr(session: Any) -> None:
    """Train with a rate that grows in each step with Lightning's finder, draw the loss, and print what to type.

    Its own suggestion is where the loss falls fastest by the rate itself, which is nearly always too small a rate.
    """
    import numpy as np
    from lightning.pytorch.tuner.tuning import Tuner

    model, config = session.model, session.request.config
    if not model.automatic_optimization:
        raise UsageError(f"find_lr needs automatic optimization, and {type(model).__name__} steps by hand")
    session.trainer.fit_loop.max_epochs = 100  # of at least one step each
    found: Any = Tuner(session.trainer).lr_find(
        model, datamodule=session.datamodule, min_lr=1e-7, max_lr=1.0, num_training=100, update_attr=False
    )
    if not session.trainer.is_global_zero:
        return
    rates, losses = (np.asarray(found.results[name][SKIPPED:]) for name in ("lr", "loss"))
    finite = np.isfinite(losses)
    if not finite.any():
        raise RunFailure(f"find_lr: no loss of {len(losses)} steps is finite; python train.py check reads the data")
    rates, losses = rates[finite], losses[finite]
    suggested = float(rates[losses.argmin()]) / 10
    file = Path(log_root(config), config["experiment"], "find_lr.png")
    _draw(rates, losses, suggested, file)
    print(f"\n{len(losses)} rates from {rates[0]:.1e} to {rates[-1]:.1e}: {file}")
    optimizer = session.configuration.content["model"].get("init_args", {}).get("optimizer")
    typed = isinstance(optimizer, dict) and "lr" in (optimizer.get("init_args") or {})
    print(f"a tenth of the rate with the lowest loss: {'--model.optimizer.lr ' if typed else ''}{suggested:.2g}")


def _draw(rates: Any, losses: Any, suggested: float, file: Path) -> None:
    import matplotlib.pyplot as plt

    file.parent.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    axes.plot(rates, losses)
    axes.axvline(suggested, linestyle="--", color="tab:red", label=f"suggested: {suggested:.2g}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="smoothed training loss")
    axes.set_ylim(losses.min() - 0.05 * abs(losses.min()), 1.1 * losses[: len(losses) // 2 + 1].max())
    axes.legend()
    figure.savefig(file, dpi=120)
    plt.close(figure)


COMMAND = Command(
    find_lr,
    "Try learning rates from small to large, and suggest one.",
    needs="trainer",
    directory="temporary",
    options=(TRUST,),
)
