"""What watches and protects a run, one Callback a file."""

from typing import TYPE_CHECKING

from trainworks.lazy import hand_out

if TYPE_CHECKING:
    from trainworks.callbacks.activation_checkpointing import ActivationCheckpointing as ActivationCheckpointing
    from trainworks.callbacks.batch_inspector import BatchInspector as BatchInspector
    from trainworks.callbacks.channels_last import ChannelsLast as ChannelsLast
    from trainworks.callbacks.compile import Compile as Compile
    from trainworks.callbacks.evaluation_figures import EvaluationFigures as EvaluationFigures
    from trainworks.callbacks.finite_loss import FiniteLoss as FiniteLoss
    from trainworks.callbacks.freeze import Freeze as Freeze
    from trainworks.callbacks.init_from import InitFrom as InitFrom
    from trainworks.callbacks.last_checkpoint import LastCheckpoint as LastCheckpoint
    from trainworks.callbacks.metrics_table import MetricsTable as MetricsTable
    from trainworks.callbacks.overfit import Overfit as Overfit
    from trainworks.callbacks.progress import ProgressPrinter as ProgressPrinter
    from trainworks.callbacks.result_writer import ResultWriter as ResultWriter
    from trainworks.callbacks.run_notes import RunNotes as RunNotes
    from trainworks.callbacks.speed_monitor import SpeedMonitor as SpeedMonitor
    from trainworks.callbacks.start_check import StartCheck as StartCheck
    from trainworks.callbacks.thread_limit import ThreadLimit as ThreadLimit
    from trainworks.callbacks.trace import Trace as Trace
    from trainworks.callbacks.trial_report import TrialReport as TrialReport
    from trainworks.callbacks.weight_average import WeightAverage as WeightAverage

__getattr__, __dir__, __all__ = hand_out(__name__, __file__)
