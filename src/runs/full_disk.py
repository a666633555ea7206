import shutil
from pathlib import Path
from typing import Any

import torch


def explain(error: Exception, checkpoint: dict[str, Any], target: Path) -> str:
    """Say why a checkpoint could not be written: most likely, how much room it needs and how much there is."""
    needed, free = _num_bytes(checkpoint) / 1e6, shutil.disk_usage(target.parent).free / 1e6
    reason = f" ({error})" if free > needed else ""  # else it is the room, whatever the zip writer says
    kept = "; the one before it is still there" if target.exists() else ""
    return (
        f"the checkpoint {target} could not be written: it needs about {needed:,.1f} MB, {free:,.1f} MB are free"
        f"{reason}{kept}. Make room, then continue with --resume"
    )


def _num_bytes(node: Any) -> int:
    if isinstance(node, torch.Tensor):
        return node.numel() * node.element_size()
    items = node.values() if isinstance(node, dict) else node if isinstance(node, list | tuple) else ()
    return sum(_num_bytes(item) for item in items)
