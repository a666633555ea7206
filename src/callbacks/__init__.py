from src.callbacks.finite_loss import FiniteLoss
from src.callbacks.freeze import Freeze
from src.callbacks.init_from import InitFrom
from src.callbacks.last_checkpoint import LastCheckpoint
from src.callbacks.prediction_writer import PredictionWriter
from src.callbacks.progress import ProgressPrinter
from src.callbacks.start_check import StartCheck

__all__ = ["FiniteLoss", "Freeze", "InitFrom", "LastCheckpoint", "PredictionWriter", "ProgressPrinter", "StartCheck"]
