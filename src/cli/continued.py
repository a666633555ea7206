from src.callbacks.last_checkpoint import device_name
from src.cli.builder import CLI
from src.cli.report import shown_path
from src.models.base import BaseModule

OWN_MEANS = "what {} logs of this epoch's training covers only the batches from here on"
NOT_EXACT = "the result will not be bit by bit the same"


def remarks(cli: CLI) -> list[str]:
    """Say from where a run continues, and what will not be as it would have been."""
    start = cli.start
    if start.path is None:
        return ["no checkpoint yet: the run starts from the beginning"]
    lines = [f"continues from {shown_path(start.path)}, step {start.step:,}", *cli.remarks]
    if start.within_epoch and not isinstance(cli.model, BaseModule):
        lines.append(OWN_MEANS.format(type(cli.model).__name__))
    if not start.exact:
        lines.append(f"this checkpoint was saved within an epoch's end: {NOT_EXACT}")
    if start.world_size != cli.trainer.world_size:
        lines.append(f"{start.world_size} processes saved it, {cli.trainer.world_size} continue: {NOT_EXACT}")
    if start.device not in ("", device_name(cli.trainer)):
        lines.append(f"it was saved on {start.device}: {NOT_EXACT}")
    return lines
