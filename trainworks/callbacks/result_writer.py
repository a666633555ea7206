import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import repeat, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from lightning.pytorch.overrides.distributed import _IndexBatchSamplerWrapper
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, SequentialSampler
from torchvision.transforms.v2.functional import to_pil_image

from trainworks.callbacks.helpers.batch import batch_size, inputs_of
from trainworks.datamodules.annotations import name_of
from trainworks.datamodules.randomness import KeyedDataset
from trainworks.errors import UsageError
from trainworks.models.base import BaseModule
from trainworks.models.checks import set_names
from trainworks.models.drawing import draw_sample
from trainworks.models.losses import sample_losses

if TYPE_CHECKING:
    from trainworks.callbacks.helpers.prediction_table import PredictionTable


class ResultWriter(BasePredictionWriter):
    """Write a table of what a module predicts, a row for each input: of the command predict, and of every test.

    The columns are `input` (the sample's name, such as its file, else its number in what the split was made from),
    `target`, `iou` or `f1` where the data has targets, those of the module's result, `loss` in a test where each sample
    has one, and `error` where an input may be unreadable. Rows of several processes are joined in the data's order.

    `predict` writes predictions.csv, or what `--output` names; a mask becomes a picture beside it, boxes also a COCO
    file, and what makes no rows a file for each batch. A test writes results.csv, that of a further set "test/clinic"
    results_clinic.csv, from the predictions that its metrics get, if the module defines `results`.

    Args:
        dirpath: Folder of the tables; a relative one is inside the run directory.
        top_k: Classes in a row, the likeliest first.
        probabilities: Whether a row has the probability of every class.
        draw: Whether `predict` draws masks and boxes over the images, in a folder beside the table.
    """

    def __init__(self, dirpath: str = ".", top_k: int = 1, probabilities: bool = False, draw: bool = False) -> None:
        super().__init__(write_interval="batch")
        self.dirpath, self.output = Path(dirpath), Path(dirpath) / "predictions.csv"
        self.top_k, self.probabilities, self.draw = top_k, probabilities, draw
        self.tables: dict[str, Any] = {}  # a ResultTable by the name of its set
        self._hooks = ExitStack()  # at the module's loss
        self._calls: list[Any] = []  # of the loss for this batch: arguments, and what it returned

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Let one process predict from loaders as they are: Lightning cannot make each of them anew."""
        super().setup(trainer, pl_module, stage)
        if stage == "predict" and trainer.world_size == 1:
            trainer._data_connector._prepare_dataloader = _watched

    def open_predictions(self, trainer: Trainer, data: Any, ending: str = "") -> "PredictionTable":
        """Return the table of the command predict, which is yet to begin; `ending` tells that of a loader apart."""
        from trainworks.callbacks.helpers.prediction_table import PredictionTable

        output = self.output.with_stem(self.output.stem + ending)
        table = PredictionTable(output, trainer.global_rank, trainer.world_size, data)
        self.tables[f"predict{ending}"] = table
        return table

    def on_predict_start(self, trainer: Any, pl_module: LightningModule) -> None:
        """Begin the table of each loader, unless the command has done so."""
        count = trainer.predict_loop.num_dataloaders
        for k in () if self.tables else range(count):
            self.open_predictions(trainer, trainer.datamodule, f"_{k}" if count > 1 else "").begin()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the table of each test set, if the module makes results of predictions."""
        from trainworks.callbacks.helpers.result_table import ResultTable

        if isinstance(pl_module, BaseModule) and type(pl_module).results is not BaseModule.results:
            if isinstance(loss := getattr(pl_module, "loss", None), nn.Module):
                self._hooks.callback(loss.register_forward_hook(lambda _, *call: self._calls.append(call)).remove)
            for name in set_names(trainer, "test"):
                path = self.dirpath / f"results{name[4:].replace('/', '_')}.csv"
                self.tables[name] = ResultTable(path, trainer.global_rank, trainer.world_size)
                self.tables[name].begin()

    def write_on_batch_end(
        self, trainer: Any, pl_module: Any, prediction: Any, batch_indices: Any, batch: Any, *numbers: int
    ) -> None:
        """Append a row for each input of a batch, with its result or why it could not be read, or save what came."""
        from trainworks.models.predict import results_of

        batch_idx, dataloader_idx = numbers
        loader, name = tree_leaves(trainer.predict_dataloaders)[dataloader_idx], list(self.tables)[dataloader_idx]
        inputs, table, errors = inputs_of(batch), self.tables[name], getattr(trainer.datamodule, "errors", None)
        targets = batch[1] if isinstance(batch, tuple | list) and len(batch) == 2 and errors is None else None
        taken = getattr(getattr(loader, "batch_sampler", None), "seen_batch_indices", None)
        indices = taken[batch_idx] if taken else ()  # `batch_indices` may be those of the loader before
        is_sample = isinstance(getattr(loader, "sampler", None), SequentialSampler | RandomSampler)
        try:
            if table.reason:
                raise UsageError(table.reason)
            # there is no result of unreadable inputs, but one of a blank; with batch_size None a sample may be a batch
            count = errors.count("") or 1 if errors else len(indices) or (0 if is_sample else batch_size(batch))
            results = results_of(prediction, count)
            if not (too_many := self._too_many_classes(results)):
                known = [int(index) for index in indices if hasattr(index, "__index__")]  # a key may be anything
                return table.append(self._rows(trainer, name, results, targets, loader, known, inputs))
        except UsageError as reason:
            return table.save(prediction, batch_idx, str(reason))
        self.tables.pop(name).part.unlink(missing_ok=True)
        raise UsageError(f"--top_k {self.top_k}: {too_many}; leave --top_k out, or write a smaller number")

    def on_test_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Append a row for each sample of a batch, from the predictions that its step returned."""
        name, loader = set_names(trainer, "test")[dataloader_idx], tree_leaves(trainer.test_dataloaders)[dataloader_idx]
        calls, self._calls = self._calls, []
        table = self.tables.get(name)
        if table is None or not table.complete or not isinstance(outputs, dict) or "predictions" not in outputs:
            return
        try:
            results = pl_module.results(outputs["predictions"], pl_module.class_names)
            if batch_idx == 0 and trainer.is_global_zero and (too_many := self._too_many_classes(results)):
                print(f"{table.path.name}: callbacks.predictions.top_k is {self.top_k}, but {too_many}")
            rows = self._rows(trainer, name, results, outputs.get("targets"), loader)
            losses = sample_losses(getattr(pl_module, "loss", None), calls, outputs.get("loss"))
            for row, value in zip(rows.values(), losses, strict=False):
                row.setdefault("loss", value)
            table.append(rows)
            outputs |= {"results": results, "rows": [*rows.values()]}  # for EvaluationFigures
        except (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError) as error:
            table.complete = False  # it is not worth a training
            if trainer.is_global_zero:
                kind = "" if isinstance(error, UsageError) else f"{type(error).__name__}: "
                print(f"{table.path.name} is left out: {kind}{error}")

    def on_predict_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Join the rows of all processes."""
        tables, self.tables = self.tables, {}
        self._hooks.close()
        for table in tables.values():
            complete = trainer.strategy.reduce_boolean_decision(table.complete)  # here they wait for each other
            if trainer.is_global_zero:
                if complete:
                    table.join()
                table.remove_parts()

    def on_test_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Join them, unless the file cannot be written: it is not worth a training."""
        try:
            self.on_predict_epoch_end(trainer, pl_module)
        except OSError as error:
            print(f"the table of the test is left out: {error}")

    def _rows(
        self, trainer: Any, name: str, results: Any, targets: Any, loader: Any, indices: Any = (), inputs: Any = None
    ) -> dict[int, dict[str, Any]]:
        """Return a row for each result, and for each input that could not be read; with `inputs` pictures too."""
        from trainworks.models.results import drawable, target_columns

        table, data, dataset = self.tables[name], trainer.datamodule, getattr(loader, "dataset", None)
        samples = dataset.dataset if isinstance(dataset, KeyedDataset) else None
        if not indices and samples is None and trainer.world_size > 1:
            raise UsageError("several processes share a loader that does not say which samples are whose")
        errors, names = getattr(data, "errors", None), getattr(data, "class_names", None)
        images = inputs if self.draw and inputs is not None else repeat(None)
        if isinstance(targets, Tensor) and targets.ndim:
            targets = targets.tolist() if targets.ndim < 3 else [*targets]
        known_targets = isinstance(targets, list) and len(targets) == len(results)
        found = zip(results, targets if known_targets else repeat(None), images, strict=False)
        rows: dict[int, dict[str, Any]] = {}
        for index, error in zip_longest(indices or table.next_indices(len(results)), errors or ()):
            number, known = table.num_done + index, name_of(samples, index)
            row = rows[number] = {"input": known + table.num_done if isinstance(known, int) else known}
            if not error:
                shown, target, image = next(found)
                result = shown
                path, reader = os.path.join(getattr(data, "root", ""), str(known)), getattr(data, "reader", data)
                if is_file := hasattr(reader, "in_original") and os.path.isfile(path):
                    result, target = reader.in_original(path, shown, target)
                row |= target_columns(target, shown if isinstance(target, Tensor) else result, names)
                if inputs is not None:
                    picture = f"{number:06}-{Path(str(row['input'])).stem[:50]}.png"
                    row |= table.save_mask(picture, result)
                    if self.draw:
                        from trainworks.datamodules.datasets.decode import decode_image  # few runs need it

                        steps = getattr(data, "eval_transform", [])
                        if is_file and (form := reader.form) is not None:  # not what the network sees of it
                            image, steps = decode_image(path, form.num_channels, None, form.dtype)[0], []
                        drawn = draw_sample(image, drawable(result, names or ()), steps)
                        to_pil_image(drawn).save(table.folder("drawn") / picture)
                row |= self._columns(result)
            if errors is not None:
                row["error"] = error
        return rows

    def _too_many_classes(self, results: Sequence[Any]) -> str:
        """Say that `top_k` is more than the results have, empty where it is not; a module's own may do as they like."""
        for result in results[:1] if self.top_k > 1 else ():
            number = len(result.probabilities) if hasattr(result, "top") else 0
            if number < self.top_k and (number or type(result).__module__ in ("builtins", "trainworks.models.results")):
                return f"there are {number} classes" if number else "a row has no likeliest classes here"
        return ""

    def _columns(self, result: Any) -> dict[str, Any]:
        """Return the columns of one result, beside its mask."""
        if not hasattr(result, "columns"):
            return dict(result) if isinstance(result, Mapping) else {"prediction": result}
        columns = dict(result.columns(self.top_k))
        if self.probabilities and hasattr(result, "probabilities"):
            columns |= {f"probability_{label}": value for label, value in result.probabilities.items()}
        return columns


def _watched(loader: Any, **how: Any) -> Any:
    """Let a loader keep which samples it takes, and leave none out: what Lightning makes loaders anew for."""
    sampler: Any = loader.batch_sampler if isinstance(loader, DataLoader) else None
    if sampler is not None and not isinstance(loader.dataset, IterableDataset):
        sampler.drop_last = False
        vars(loader)["batch_sampler"] = _IndexBatchSamplerWrapper(sampler)
    return loader
