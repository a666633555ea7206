from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Start:
    """Where a training continues.

    Args:
        path: The checkpoint; None to begin, since there is none yet.
        step: Steps that it has behind it, as loggers count them.
        within_epoch: Whether it stands between the batches of an epoch.
        finished: Whether the training ended there.
        exact: Whether it was saved at a point from which it goes on exactly.
        world_size: Number of processes that saved it.
        metrics: The last metrics before it.
        device: The kind of device that it was saved on; empty if it does not say.
    """

    path: Path | None = None
    step: int = 0
    within_epoch: bool = False
    finished: bool = False
    exact: bool = True
    world_size: int = 1
    metrics: dict[str, float] = field(default_factory=dict)
    device: str = ""
