"""Why a checkpoint could not be written. Only loaded when one could not."""

import re
import shutil
from pathlib import Path
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from trainworks.runs.checkpoint_io import unsafe


def name_unsafe(content: dict[str, Any]) -> str:
    """Say what in a checkpoint could not be read back."""
    errors = {key: unsafe(value) for key, value in content.items()}
    key, error = next((key, error) for key, error in errors.items() if error is not None)
    found = re.search(r"GLOBAL (\S+)", str(error))
    return (
        f"'{key}' in the checkpoint holds {found[1] if found else error}, which could not be read back safely; "
        "let on_save_checkpoint and state_dict give tensors, numbers, texts, lists and dictionaries"
    )


def explain(error: Exception, checkpoint: dict[str, Any], target: Path) -> str:
    """Say why a checkpoint could not be written: most likely, how much room it needs and how much there is."""
    num_bytes = sum(leaf.nbytes for leaf in tree_leaves(checkpoint) if isinstance(leaf, torch.Tensor))
    needed, free = num_bytes / 1e6, shutil.disk_usage(target.parent).free / 1e6
    reason = f" ({error})" if free > needed else ""  # else it is the room, whatever the zip writer says
    kept = "; the one before it is still there" if target.exists() else ""
    return (
        f"the checkpoint {target} could not be written: it needs about {needed:,.1f} MB, {free:,.1f} MB are free"
        f"{reason}{kept}. Make room, then continue with --resume"
    )
