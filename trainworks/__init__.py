"""The library under this template: never edited in a project, replaced whole. docs/api.md lists what is public."""

from typing import TYPE_CHECKING

from trainworks.lazy import hand_out

__version__ = "0.2.0"

if TYPE_CHECKING:
    from trainworks.callbacks.helpers.batch import inputs_of as inputs_of
    from trainworks.callbacks.helpers.loggers import never_fatal as never_fatal
    from trainworks.callbacks.helpers.loggers import send_media as send_media
    from trainworks.callbacks.helpers.loggers import send_scalars as send_scalars
    from trainworks.callbacks.helpers.loggers import steps_so_far as steps_so_far
    from trainworks.cli.api import build as build
    from trainworks.cli.api import evaluate as evaluate
    from trainworks.cli.api import train as train
    from trainworks.datamodules.base import BaseDataModule as BaseDataModule
    from trainworks.datamodules.datasets.array_dataset import ArrayDataset as ArrayDataset
    from trainworks.datamodules.tabular import TabularDataModule as TabularDataModule
    from trainworks.errors import RunFailure as RunFailure
    from trainworks.errors import UsageError as UsageError
    from trainworks.errors import did_you_mean as did_you_mean
    from trainworks.errors import no_such_file as no_such_file
    from trainworks.models.base import BaseModule as BaseModule
    from trainworks.models.checks import check_takes_two as check_takes_two
    from trainworks.models.checks import inputs_and_targets as inputs_and_targets
    from trainworks.models.dense_detections import dense_detections as dense_detections
    from trainworks.models.drawing import denormalize as denormalize
    from trainworks.models.drawing import draw_sample as draw_sample
    from trainworks.models.drawing import draw_target as draw_target
    from trainworks.models.metrics import ReliabilityDiagram as ReliabilityDiagram
    from trainworks.models.predict import load_model as load_model
    from trainworks.models.results import BoxResult as BoxResult
    from trainworks.models.results import ClassResult as ClassResult
    from trainworks.models.results import LabelsResult as LabelsResult
    from trainworks.models.results import MaskResult as MaskResult
    from trainworks.models.results import TextResult as TextResult
    from trainworks.models.results import ValueResult as ValueResult

__getattr__, __dir__, __all__ = hand_out(__name__, __file__)
