from src.callbacks.activation_checkpointing import ActivationCheckpointing
from src.callbacks.channels_last import ChannelsLast
from src.callbacks.compile import Compile
from src.callbacks.evaluation_figures import EvaluationFigures
from src.callbacks.finite_loss import FiniteLoss
from src.callbacks.freeze import Freeze
from src.callbacks.init_from import InitFrom
from src.callbacks.last_checkpoint import LastCheckpoint
from src.callbacks.norm_monitor import NormMonitor
from src.callbacks.overfit import Overfit
from src.callbacks.prediction_writer import PredictionWriter
from src.callbacks.progress import ProgressPrinter
from src.callbacks.run_notes import RunNotes
from src.callbacks.sample_images import SampleImages
from src.callbacks.sample_texts import SampleTexts
from src.callbacks.speed_monitor import SpeedMonitor
from src.callbacks.start_check import StartCheck
from src.callbacks.trace import Trace
from src.callbacks.training_images import TrainingImages
from src.callbacks.weight_average import WeightAverage

__all__ = [
    "ActivationCheckpointing",
    "ChannelsLast",
    "Compile",
    "EvaluationFigures",
    "FiniteLoss",
    "Freeze",
    "InitFrom",
    "LastCheckpoint",
    "NormMonitor",
    "Overfit",
    "PredictionWriter",
    "ProgressPrinter",
    "RunNotes",
    "SampleImages",
    "SampleTexts",
    "SpeedMonitor",
    "StartCheck",
    "Trace",
    "TrainingImages",
    "WeightAverage",
]
