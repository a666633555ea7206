"""python train.py find_lr --config C: try learning rates from small to large, and suggest one."""

from pathlib import Path

import torch
from lightning.pytorch.tuner.tuning import Tuner

from src.cli.builder import CLI
from src.cli.request import log_root
from src.errors import UsageError

LOWEST, HIGHEST, NUM_STEPS = 1e-7, 1.0, 100


def find_lr(cli: CLI) -> None:
    """Train with a rate that grows in each step with Lightning's finder, draw the loss, and print what to type."""
    if not cli.model.automatic_optimization:
        raise UsageError(f"find_lr needs automatic optimization, and {type(cli.model).__name__} steps by hand")
    found = Tuner(cli.trainer).lr_find(
        cli.model, datamodule=cli.datamodule, min_lr=LOWEST, max_lr=HIGHEST, num_training=NUM_STEPS, update_attr=False
    )
    assert found is not None
    if not cli.trainer.is_global_zero:
        return
    tried = torch.tensor([loss for loss in found.results["loss"]])
    if not len(tried):
        raise UsageError("find_lr: no step was made; is trainer.limit_train_batches too small?")
    figure = found.plot(suggest=True)
    assert figure is not None
    axes = figure.axes[0]
    axes.set_ylabel("smoothed training loss")
    finite = tried[tried.isfinite()]
    axes.set_ylim(float(finite.min()) * 0.95, float(finite[: len(finite) // 2 + 1].max()) * 1.1)
    name = cli.request.config["experiment"]
    path = Path(log_root(cli.request.config), name, "find_lr.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    rate = found.suggestion()
    print(f"\n{len(tried)} rates from {found.results['lr'][0]:.1e} to {found.results['lr'][-1]:.1e}: {path}")
    if rate is None:
        print("no suggestion: the loss fell nowhere clearly; look at the curve")
        return
    optimizer = cli.config_dump["model"]["init_args"].get("optimizer")
    key = "--model.optimizer.lr" if isinstance(optimizer, dict) and "lr" in (optimizer.get("init_args") or {}) else "lr"
    print(f"the loss falls fastest at {rate:.2g}: {key} {rate:.2g}")
