"""Checkpoints hold tensors and plain data only, so that reading one never runs code."""

import io
import pickle
import re
from collections import OrderedDict
from typing import Any

import torch

from trainworks.errors import RunFailure


def check_plain(content: dict[str, Any]) -> None:
    """Raise a RunFailure if a checkpoint holds more than tensors and plain data, such as a NumPy array."""
    for key, value in content.items():
        if (error := _loading_error(value)) is not None:
            found = re.search(r"GLOBAL (\S+)", str(error))
            raise RunFailure(
                f"'{key}' in the checkpoint holds {found[1] if found else error}, which could not be read back safely; "
                "let on_save_checkpoint and state_dict return tensors, numbers, strings, lists and dictionaries"
            )


def _loading_error(content: Any) -> Exception | None:
    """Return the error that loading `content` would raise, or None. Only unusual types are saved and loaded to see."""
    if not (unusual := _unusual_values(content)):
        return None
    buffer = io.BytesIO()
    try:
        torch.save(unusual, buffer)
        buffer.seek(0)
        torch.load(buffer, weights_only=True)
    except (pickle.UnpicklingError, pickle.PicklingError, AttributeError, TypeError) as error:
        return error
    return None


def _unusual_values(node: Any) -> list[Any]:
    """Return all values that are neither tensors nor plain data."""
    if type(node) in (dict, OrderedDict):
        return _unusual_values([*node.keys(), *node.values()])
    if type(node) in (list, tuple):
        return [value for item in node for value in _unusual_values(item)]
    return [] if isinstance(node, torch.Tensor) or type(node) in (str, int, float, bool, type(None)) else [node]
