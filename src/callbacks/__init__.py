from src.callbacks.prediction_writer import PredictionWriter
from src.callbacks.progress import ProgressPrinter
from src.callbacks.start_check import StartCheck

__all__ = ["PredictionWriter", "ProgressPrinter", "StartCheck"]
