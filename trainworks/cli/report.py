"""What a command says when it starts and when it ends."""

import os
from pathlib import Path

from trainworks import __version__
from trainworks.callbacks.last_checkpoint import device_name
from trainworks.cli.builder import CLI
from trainworks.datamodules.base import BaseDataModule
from trainworks.models.base import BaseModule

NOT_EXACT = "the result will not be bit by bit the same"
SHARED_STORE = """torchrun may hang when it starts the group again, since all attempts share one store (pytorch issue
167288); to prevent it, start torchrun with TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"""


def headline(cli: CLI) -> str:
    """Say where and what, before it starts."""
    line = cli.request.line
    if not line.trains:
        return f"{line.command}: {cli.request.ckpt_path or cli.start.path or 'from the beginning'}"
    device, processes = cli.trainer.strategy.root_device.type, cli.trainer.world_size
    net = type(getattr(cli.model, "net", cli.model)).__name__
    size = sum(parameter.numel() for parameter in cli.model.parameters())
    where = device if processes == 1 else f"{processes} x {device}"
    lines = [f"{cli.run.directory}: {net}, {size:,} parameters, {where}, seed {cli.config.seed_everything}"]
    if not isinstance(cli.datamodule, BaseDataModule):
        own = type(cli.datamodule or cli.model).__name__
        lines.append(f"{own} brings its own loaders: a run that is stopped can go on, but not bit by bit the same")
    shares_store = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if cli.request.run is not None:
        lines += _continued(cli)
    elif shares_store and os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0":
        lines.append(SHARED_STORE)
    return "\n".join(lines)


def _continued(cli: CLI) -> list[str]:
    """Say from where a run continues, and what will not be as it would have been."""
    start = cli.start
    if start.path is None:
        return ["no checkpoint yet: the run starts from the beginning"]
    lines = [f"continues from {shown_path(start.path)}, step {start.step:,}", *cli.remarks]
    if (begun := cli.run.read().get("versions", {}).get("trainworks", __version__)) != __version__:
        lines.append(f"trainworks {begun} began this run, {__version__} continues it: {NOT_EXACT}")
    if start.within_epoch and not isinstance(cli.model, BaseModule):
        kind = type(cli.model).__name__
        lines.append(f"what {kind} logs of this epoch's training covers only the batches from here on")
    if not start.exact:
        lines.append(f"this checkpoint was saved within an epoch's end: {NOT_EXACT}")
    if start.world_size != cli.trainer.world_size:
        lines.append(f"{start.world_size} processes saved it, {cli.trainer.world_size} continue: {NOT_EXACT}")
    if start.device not in ("", device_name(cli.trainer)):
        lines.append(f"it was saved on {start.device}: {NOT_EXACT}")
    return lines


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
