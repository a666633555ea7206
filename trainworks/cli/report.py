"""What a command says when it starts and when it ends."""

import os
from pathlib import Path

from lightning.pytorch import Trainer
from torch.utils.tensorboard.summary import hparams

from trainworks import __version__
from trainworks.callbacks.helpers.loggers import send_media, tensorboard_writers
from trainworks.cli.builder import Session
from trainworks.models.base import BaseModule
from trainworks.runs.files import shown_path
from trainworks.runtime.devices import device_name
from trainworks.runtime.logged_metrics import without_classes
from trainworks.runtime.stop_reason import stop_reason

MAX_CLASSES = 20  # whose values stand in the closing lines
NOT_EXACT = "the result will not be bit by bit the same"
SHARED_STORE = """torchrun may hang when it starts the group again, since all attempts share one store (pytorch issue
167288); to prevent it, start torchrun with TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"""


def headline(session: Session, remarks: list[str]) -> str:
    """Say where and what, before it starts; `remarks` are about settings that changed since the run began."""
    line = session.request.line
    if not line.trains:
        return f"{line.name}: {session.request.ckpt_path or session.start.path or 'from the beginning'}"
    device, processes = session.trainer.strategy.root_device.type, session.trainer.world_size
    seed = session.configuration.parsed.seed_everything
    net = type(getattr(session.model, "net", session.model)).__name__
    size = sum(parameter.numel() for parameter in session.model.parameters())
    where = device if processes == 1 else f"{processes} x {device}"
    lines = [f"{session.run.directory}: {net}, {size:,} parameters, {where}, seed {seed}"]
    shares_store = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if session.request.run is not None:
        lines += _continued(session, remarks)
    elif shares_store and os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0":
        lines.append(SHARED_STORE)
    return "\n".join(lines)


def _continued(session: Session, remarks: list[str]) -> list[str]:
    """Say from where a run continues, and what will not be as it would have been."""
    start = session.start
    if start.path is None:
        return ["no checkpoint yet: the run starts from the beginning"]
    lines = [f"continues from {shown_path(start.path)}, step {start.step:,}", *remarks]
    if (begun := session.run.read().get("versions", {}).get("trainworks", __version__)) != __version__:
        lines.append(f"trainworks {begun} began this run, {__version__} continues it: {NOT_EXACT}")
    if start.within_epoch and not isinstance(session.model, BaseModule):
        kind = type(session.model).__name__
        lines.append(f"what {kind} logs of this epoch's training covers only the batches from here on")
    if not start.exact:
        lines.append(f"this checkpoint was saved within an epoch's end: {NOT_EXACT}")
    if start.world_size != session.trainer.world_size:
        lines.append(f"{start.world_size} processes saved it, {session.trainer.world_size} continue: {NOT_EXACT}")
    if start.device not in ("", device_name(session.trainer)):
        lines.append(f"it was saved on {start.device}: {NOT_EXACT}")
    return lines


def closing(session: Session, seconds: float) -> str:
    """Return the closing lines: metrics, checkpoint, run directory, time, and what to type next."""
    trains = session.request.line.trains
    results = session.results or (session.best_metrics if trains else {})
    shown = without_classes(results, MAX_CLASSES)
    lines = [(name, f"{value:.4f}") for name, value in shown.items()]
    if len(shown) < len(results):
        lines.append(("single classes", f"{len(results) - len(shown)} values, in run.json"))
    if skipped := getattr(session.datamodule, "skipped", None):
        lines.append(("skipped images", str(len(skipped))))
    if trains:
        best = shown_path(session.best_path) if session.best_path else "none was kept; these are the final weights"
        lines.append(("best checkpoint", best))
        if "best_epoch" in session.best_point:
            point = f"{session.best_point['best_epoch']:,}, step {session.best_point['best_step']:,}"
            lines.append(("best epoch", "; ".join([point, *(f"{k} {v:.4f}" for k, v in session.best_score.items())])))
        lines.append(("ended by", stop_reason(session.trainer)))
    lines += [("run directory", shown_path(session.run.directory)), ("seconds", f"{seconds:.1f}")]
    width = max(len(name) for name, _ in lines)
    table = "\n".join(f"{name:<{width}}  {value}" for name, value in lines)
    has_board = bool(tensorboard_writers(session.trainer))
    watch = [f"tensorboard --logdir {shown_path(session.run.directory.parent)}"] * has_board
    if len(watch) < len(session.trainer.loggers):
        from trainworks.cli.trackers import tracker_commands

        watch += tracker_commands(session.trainer.loggers)
    return "\n".join(["", table, "", *watch]).rstrip()


def log_end(trainer: Trainer, success: bool) -> None:
    """Show run.json as text in the loggers, and in HParams of TensorBoard how the run ended."""
    text = (Path(trainer.default_root_dir) / "run.json").read_text(encoding="utf-8")
    send_media(trainer, "run", f"```json\n{text}\n```", trainer.global_step)
    for writer in tensorboard_writers(trainer):
        if success:
            *_, end = hparams({}, {})  # type: ignore[no-untyped-call]
            writer.file_writer.add_summary(end)
        writer.close()
