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
        if unusual := _unusual_values(value):  # only these are saved and loaded to see whether that works
            buffer = io.BytesIO()
            try:
                torch.save(unusual, buffer)
                buffer.seek(0)
                torch.load(buffer, weights_only=True)
            except (pickle.UnpicklingError, pickle.PicklingError, AttributeError, TypeError) as error:
                found = re.search(r"GLOBAL (\S+)", str(error))
                raise RunFailure(
                    f"'{key}' in the checkpoint holds {found[1] if found else error}, which could not be read back "
                    "safely; let on_save_checkpoint and state_dict return tensors, numbers, strings, lists and "
                    "dictionaries"
                ) from None


def _unusual_values(node: Any) -> list[Any]:
    """Return all values that are neither tensors nor plain data."""
    if type(node) in (dict, OrderedDict):
        return _unusual_values([*node.keys(), *node.values()])
    if type(node) in (list, tuple):
        return [value for item in node for value in _unusual_values(item)]
    return [] if isinstance(node, torch.Tensor) or type(node) in (str, int, float, bool, type(None)) else [node]
