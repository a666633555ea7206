import importlib
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.model_helpers import is_overridden

from src.runs.checkpoint_io import DESCRIPTION, read_checkpoint
from src.runs.yaml_files import renamed


def load_model(path: str | Path, map_location: str | torch.device = "cpu") -> LightningModule:
    """Rebuild a trained module from its checkpoint alone, in eval mode.

    The module that the checkpoint names is imported, and so are its network, loss and metrics: do it only where you
    trust the file (docs/security.md). `class_names` are those of the data it was trained on, in the order of its
    outputs, or None.

    Args:
        path: A checkpoint that `train.py` wrote, such as logs/digits/<run_name>/checkpoints/best.ckpt.
        map_location: Where its weights go.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the checkpoint does not say how its module was built, or names something that is no
            LightningModule or cannot be imported.
    """
    checkpoint = read_checkpoint(path)
    description = _description(path, checkpoint)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(LightningModule, "module", fail_untyped=False)
    module: LightningModule = parser.instantiate_classes(parser.parse_object({"module": description})).module
    if is_overridden("configure_model", module):
        module.configure_model()
    module.on_load_checkpoint(checkpoint)
    module.load_state_dict(checkpoint["state_dict"])
    counts = (part.get("class_counts") for part in checkpoint.values() if isinstance(part, dict))
    module.class_names = next((list(found) for found in counts if found), None)  # type: ignore[assignment]
    return module.to(map_location).eval()


def _description(path: str | Path, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return class path and arguments of a checkpoint's module, once the class has been looked at."""
    stored = dict(checkpoint.get("hyper_parameters", {}))  # older checkpoints have no other description
    older = {"class_path": stored.pop("_class_path", None), "init_args": stored}
    stored.pop("_instantiator", None)
    description: dict[str, Any] = renamed(checkpoint.get(DESCRIPTION, older))
    name = description["class_path"]
    if not isinstance(name, str):
        raise ValueError(f"{path} does not say how its module was built; only checkpoints written by train.py do")
    try:
        found = getattr(importlib.import_module(name.rpartition(".")[0]), name.rpartition(".")[2])
    except (ImportError, AttributeError, ValueError) as error:
        advice = "put the folder of its file on PYTHONPATH"
        raise ValueError(f"{path} needs {name}, which cannot be imported ({error}); {advice}") from None
    if not (isinstance(found, type) and issubclass(found, LightningModule)):
        raise ValueError(f"{path} names {name}, which is no LightningModule; it was not called")
    return description
