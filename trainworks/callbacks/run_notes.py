import contextlib
import copy
import io
import re
import warnings
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from tensorboard.plugins.hparams.summary_v2 import hparams_pb
from torch import Tensor

from trainworks.callbacks.helpers.batch import inputs_of
from trainworks.callbacks.helpers.isolation import has_all_weights, isolated
from trainworks.callbacks.helpers.loggers import send_media, send_scalars, steps_so_far, tensorboard_writers
from trainworks.callbacks.speed_monitor import STEP_PARTS
from trainworks.models.base import BaseModule
from trainworks.runs.yaml_files import flatten, short_key
from trainworks.runtime.logged_metrics import without_classes

SHOWN_TRAINER_KEYS = ("max_epochs", "max_steps", "precision", "accumulate_grad_batches", "gradient_clip_val", "devices")


class RunNotes(Callback):
    """Log configuration, parameters, hyperparameters (HParams) and the network's graph at the start of a run.

    The configuration is that of config.yaml in the run directory. Each epoch logs best/<monitored metric>, the best
    score so far. HParams shows the last value of every metric, which is the final one of a finished run.

    Args:
        graph: Whether to draw the network's graph, which is traced with the first sample.
    """

    def __init__(self, graph: bool = True) -> None:
        self.graph = graph

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log texts, hyperparameters and the layout of the charts, unless the run continues and has them already."""
        if trainer.global_step or not trainer.is_global_zero:
            return
        send_media(trainer, "parameters", _parameter_table(pl_module), 0)
        file = Path(trainer.default_root_dir) / "config.yaml"
        if file.is_file():
            text = file.read_text(encoding="utf-8")
            send_media(trainer, "config", f"```yaml\n{text}\n```", 0)
            # torch's add_hparams would add a summary that fixes the table's columns to those of the first run
            name = "/".join(file.parent.absolute().parts[-2:])  # experiment and run
            config = yaml.safe_load(text)
            shown = {key: config.get(key) for key in ("seed_everything", "model", "data")}
            shown["trainer"] = {key: config["trainer"].get(key) for key in SHOWN_TRAINER_KEYS}
            values = dict(_cell(*item) for item in flatten(shown).items() if item[1] not in (None, {}))
            for writer in tensorboard_writers(trainer):
                writer.file_writer.add_summary(hparams_pb(values, trial_id=name))
        for writer in tensorboard_writers(trainer):
            writer.add_custom_scalars(_chart_layout(pl_module))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Draw the network's graph at the first batch of the run."""
        if trainer.fit_loop.total_batch_idx or not self.graph or not (writers := tensorboard_writers(trainer)):
            return
        net, inputs = getattr(pl_module, "net", None), inputs_of(batch)
        if not (isinstance(net, torch.nn.Module) and isinstance(inputs, Tensor) and has_all_weights(trainer)):
            return
        quiet = contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception)  # some cannot be traced
        with quiet[0], quiet[1], warnings.catch_warnings(action="ignore"), isolated(pl_module), torch.no_grad():
            tensors = {id(tensor): tensor for tensor in (*net.parameters(), *net.buffers())}
            uncompiled = copy.deepcopy(net, tensors)  # compiled code cannot be traced; the tensors are shared
            for writer in writers:
                writer.add_graph(uncompiled, inputs[:1])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the best score of the monitored metric so far."""
        best: Any = trainer.checkpoint_callback
        if not isinstance(best, ModelCheckpoint) or best.monitor not in trainer.callback_metrics:
            return
        scores = [trainer.callback_metrics[best.monitor]]  # the checkpoint callback compares it only after this hook
        scores += [best.best_model_score] if best.best_model_score is not None else []
        score = (min if best.mode == "min" else max)(float(score) for score in scores)
        if trainer.is_global_zero:
            send_scalars(trainer, {f"best/{best.monitor}": score}, steps_so_far(trainer) - 1)


def _parameter_table(module: LightningModule) -> str:
    """Return a Markdown table of all parameters."""
    rows = ["| name | shape | number | trains |", "| --- | --- | --- | --- |"]
    for name, weight in module.named_parameters():
        shape, trains = " x ".join(map(str, weight.shape)) or "scalar", "yes" if weight.requires_grad else "no"
        rows.append(f"| {name} | {shape} | {weight.numel():,} | {trains} |")
    return "\n".join([*rows, f"| total | | {sum(weight.numel() for weight in module.parameters()):,} | |"])


def _chart_layout(module: Any) -> dict[str, Any]:
    """Return the layout of TensorBoard's Custom Scalars: train and val of a metric in one chart."""
    names = module.metric_names("val") if isinstance(module, BaseModule) else ["val/loss"]
    short = dict.fromkeys(re.escape(name.rpartition("/")[2]) for name in without_classes(dict.fromkeys(names), 0))
    shares = [f"speed/{part}$" for part in STEP_PARTS.values()]
    return {
        "is it learning": {name: ["Multiline", [f"^train/{name}$", f"^val/(.+/)?{name}$"]] for name in short},
        "what holds it back": {"shares of a step": ["Multiline", shares]},
    }


def _cell(key: str, value: Any) -> tuple[str, bool | int | float | str]:
    """Return a key as it is typed and its value as HParams shows it: a class path as the name of the class."""
    shown = str(value).rpartition(".")[2] if key.endswith(".class_path") else value
    return short_key(key), shown if isinstance(shown, int | float) else str(shown)[:200]
