from src.models.base import BaseModule
from src.models.classifier import ClassifierModule
from src.models.detector import DetectorModule
from src.models.gan import GANModule
from src.models.language_model import LanguageModelModule
from src.models.load import load_model
from src.models.loss_terms import SumOfTerms
from src.models.multilabel import MultilabelModule
from src.models.regressor import RegressorModule
from src.models.segmenter import SegmenterModule
from src.models.vae import VAEModule

__all__ = [
    "BaseModule",
    "ClassifierModule",
    "DetectorModule",
    "GANModule",
    "LanguageModelModule",
    "MultilabelModule",
    "RegressorModule",
    "SegmenterModule",
    "SumOfTerms",
    "VAEModule",
    "load_model",
]
