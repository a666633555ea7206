from pathlib import Path

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.model_helpers import is_overridden

from trainworks.models.predict import Predictor, build
from trainworks.runs.checkpoint_io import DATA, MODULE, read_checkpoint


def load_model(path: str | Path, map_location: str | torch.device = "cpu") -> LightningModule:
    """Rebuild a trained module from its checkpoint alone, in eval mode.

    The module that the checkpoint names is imported, and so are its network, loss and metrics: do it only where you
    trust the file (docs/security.md). `class_names` are those of the data it was trained on, in the order of its
    outputs, or None. `predict(x)` answers for inputs as they come; see `Predictor`.

    Args:
        path: A checkpoint that `train.py` wrote, such as logs/digits/<run_name>/checkpoints/best.ckpt.
        map_location: Where its weights go.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the checkpoint does not say how its module was built, or names something that is no
            LightningModule or cannot be imported.
    """
    checkpoint = read_checkpoint(path)
    module: LightningModule = build(checkpoint.get(MODULE, {"class_path": None}), LightningModule, path)
    if is_overridden("configure_model", module):
        module.configure_model()
    module.on_load_checkpoint(checkpoint)
    module.load_state_dict(checkpoint["state_dict"])
    states = {name: part for name, part in checkpoint.items() if isinstance(part, dict) and "class_counts" in part}
    counts = [part["class_counts"] for part in states.values() if part["class_counts"]]
    module.class_names = list(counts[0]) if counts else None  # type: ignore[assignment]
    module.predict = Predictor(module, checkpoint.get(DATA), states)  # type: ignore[assignment]
    return module.to(map_location).eval()
