"""What a command says when it starts and when it ends."""

import os
from pathlib import Path

from trainworks.cli.builder import CLI
from trainworks.datamodules.base import BaseDataModule

SHARED_STORE = """torchrun may hang when it starts the group again, since all attempts share one store (pytorch issue
167288); to prevent it, start torchrun with TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"""
OWN_LOADERS = "{} brings its own loaders: a run that is stopped can go on, but not bit by bit as it would have"


def headline(cli: CLI) -> str:
    """Say where and what, before it starts."""
    line = cli.request.line
    if not line.trains:
        return f"{line.command}: {cli.request.ckpt_path or cli.start.path or 'from the beginning'}"
    device, processes = cli.trainer.strategy.root_device.type, cli.trainer.world_size
    net = type(getattr(cli.model, "net", cli.model)).__name__
    size = sum(parameter.numel() for parameter in cli.model.parameters())
    where = device if processes == 1 else f"{processes} x {device}"
    begin = f"{cli.run.directory}: {net}, {size:,} parameters, {where}, seed {cli.config.seed_everything}"
    own = type(cli.datamodule or cli.model).__name__
    inexact = [] if isinstance(cli.datamodule, BaseDataModule) else [OWN_LOADERS.format(own)]
    if cli.request.run is None:
        shared = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
        restarts = os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"
        return "\n".join([begin, *inexact, *([SHARED_STORE] if shared and restarts else [])])
    from trainworks.cli.existing import continued

    return "\n".join([begin, *inexact, *continued(cli)])


def closing(cli: CLI, seconds: float) -> str:
    """Return the closing lines: metrics, checkpoint, run directory, time, and what to type next."""
    lines = [(name, f"{value:.4f}") for name, value in cli.results.items()]
    if skipped := getattr(cli.datamodule, "skipped", None):
        lines.append(("skipped images", str(len(skipped))))
    if cli.request.line.trains:
        best = shown_path(cli.best_path) if cli.best_path else "none was kept; these are the final weights"
        lines.append(("best checkpoint", best))
    lines += [("run directory", shown_path(cli.run.directory)), ("seconds", f"{seconds:.1f}")]
    width = max(len(name) for name, _ in lines)
    table = "\n".join(f"{name:<{width}}  {value}" for name, value in lines)
    return f"\n{table}\n\ntensorboard --logdir {shown_path(cli.run.directory.parent)}"


def shown_path(path: str | Path) -> str:
    """Shorten a path below the current folder, so that it can be copied into the next command."""
    return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else str(path)
