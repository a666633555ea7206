from pathlib import Path

import torch
from lightning.pytorch import LightningModule

from src.models.base import BaseModule
from src.models.classifier import ClassifierModule
from src.models.detector import DetectorModule
from src.models.language_model import LanguageModelModule
from src.models.loss_terms import SumOfTerms
from src.models.multilabel import MultilabelModule
from src.models.regressor import RegressorModule
from src.models.segmenter import SegmenterModule
from src.models.vae import VAEModule

__all__ = [
    "BaseModule",
    "ClassifierModule",
    "DetectorModule",
    "LanguageModelModule",
    "MultilabelModule",
    "RegressorModule",
    "SegmenterModule",
    "SumOfTerms",
    "VAEModule",
    "load_model",
]


def load_model(path: str | Path, map_location: str | torch.device = "cpu") -> LightningModule:
    """Rebuild a trained module from its checkpoint alone, in eval mode.

    Its `class_names` are those of the data it was trained on, in the order of its outputs, or None.

    Args:
        path: A checkpoint that `train.py` wrote, such as logs/digits/<run_name>/checkpoints/best.ckpt.
        map_location: Where its weights go.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the checkpoint does not say how its module was built.
    """
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    if "_class_path" not in checkpoint.get("hyper_parameters", {}):
        raise ValueError(f"{path} does not say how its module was built; only checkpoints written by train.py do")
    module = LightningModule.load_from_checkpoint(path, map_location=map_location, weights_only=True)
    counts = (part.get("class_counts") for part in checkpoint.values() if isinstance(part, dict))
    module.class_names = next((list(found) for found in counts if found), None)  # type: ignore[assignment]
    return module.eval()
