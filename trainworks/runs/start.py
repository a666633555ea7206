from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Start:
    """Where a training continues."""

    path: Path | None = None  # the checkpoint; None to begin, since there is none yet
    step: int = 0  # behind it, as loggers count them
    within_epoch: bool = False  # whether it stands between the batches of an epoch
    finished: bool = False  # whether the training ended there
    exact: bool = True  # whether it was saved at a point from which it goes on exactly
    world_size: int = 1  # processes that saved it
    metrics: dict[str, float] = field(default_factory=dict)  # the last before it
    device: str = ""  # the kind that it was saved on; empty if it does not say
