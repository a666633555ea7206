from src.callbacks.finite_loss import FiniteLoss
from src.callbacks.last_checkpoint import LastCheckpoint
from src.callbacks.prediction_writer import PredictionWriter
from src.callbacks.progress import ProgressPrinter
from src.callbacks.sample_images import SampleImages
from src.callbacks.sample_texts import SampleTexts
from src.callbacks.start_check import StartCheck

__all__ = [
    "FiniteLoss",
    "LastCheckpoint",
    "PredictionWriter",
    "ProgressPrinter",
    "SampleImages",
    "SampleTexts",
    "StartCheck",
]
