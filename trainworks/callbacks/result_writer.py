from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from trainworks.callbacks.helpers.batch import inputs_of
from trainworks.datamodules.samplers import ShardSampler
from trainworks.models.base import BaseModule
from trainworks.models.checks import set_names

if TYPE_CHECKING:
    from trainworks.callbacks.helpers.result_table import ResultTable


class ResultWriter(BasePredictionWriter):
    """Write a table of what a module predicts, a row for each input: of the command predict, and of every test.

    The columns are `input` (the sample's name, such as its file, else its number), `target` where the data has one,
    those of the module's result, and `error` where an input may be unreadable. Rows are written as they come, and those
    of several processes are joined in the order of the data.

    `predict` writes predictions.csv, or what `--output` names; a mask becomes a picture beside it, and boxes also a
    COCO file. A test writes test_predictions.csv, that of a further set "test/clinic" test_clinic_predictions.csv, from
    the predictions that its metrics get. A module that does not define `results` has no such table.

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
        self._tables: dict[str, ResultTable] = {}  # by the name of the set

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Tell a module of this library what the classes of the data are called; another may keep its own names."""
        super().setup(trainer, pl_module, stage)
        if isinstance(pl_module, BaseModule) and (names := getattr(trainer.datamodule, "class_names", None)):
            pl_module.class_names = list(names)

    def open_table(self, trainer: Trainer, name: str, resume: tuple[str, int, int] | None = None) -> int:
        """Open the table of a set; return how many rows are there of a command that was killed, see ResultTable."""
        from trainworks.callbacks.helpers.result_table import ResultTable

        path = self.output if name == "predict" else self.dirpath / f"{name.replace('/', '_')}_predictions.csv"
        table = ResultTable(path, trainer.global_rank, trainer.world_size, resume)
        self._tables[name] = table
        return table.num_done

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the table, unless the command has done so."""
        if not self._tables:
            self.open_table(trainer, "predict")

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the table of each test set, if the module makes results of predictions."""
        if isinstance(pl_module, BaseModule) and type(pl_module).results is not BaseModule.results:
            for name in set_names(trainer, "test"):
                self.open_table(trainer, name)

    def write_on_batch_end(
        self, trainer: Any, pl_module: Any, prediction: Any, batch_indices: Any, batch: Any, *numbers: int
    ) -> None:
        """Append a row for each input of a batch, with its result or why it could not be read."""
        from trainworks.models.predict import results_of

        data = trainer.datamodule
        samples = getattr(data, "splits", {}).get(getattr(data, "predicted", "test"))
        targets = batch[1] if isinstance(batch, tuple | list) and len(batch) == 2 else None
        indices = [int(index) for index in batch_indices or ()]
        self._append(trainer, "predict", results_of(prediction), targets, samples, indices, inputs_of(batch))

    def on_test_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Append a row for each sample of a batch, from the predictions that its step returned."""
        name, loaders = set_names(trainer, "test")[dataloader_idx], trainer.test_dataloaders
        table = self._tables.get(name)
        if table is None or not table.complete or not isinstance(outputs, dict) or "predictions" not in outputs:
            return
        loader = loaders[dataloader_idx] if isinstance(loaders, list | tuple) else loaders
        sampler = getattr(getattr(loader, "batch_sampler", None), "sampler", None)
        splits = getattr(trainer.datamodule, "splits", {}) if isinstance(sampler, ShardSampler) else {}
        try:
            results = pl_module.results(outputs["predictions"], pl_module.class_names)
            self._append(trainer, name, results, outputs.get("targets"), splits.get(name))
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            self._leave_out(trainer, name, f"{type(error).__name__}: {error}")  # it is not worth a training

    def on_predict_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Join the rows of all processes."""
        tables, self._tables = self._tables, {}
        for name, table in tables.items():
            table.file.close()
            complete = trainer.strategy.reduce_boolean_decision(table.complete)  # here they wait for each other
            if not trainer.is_global_zero:
                continue
            columns = table.join() if complete else []
            if "boxes" in columns and name == "predict":
                table.write_coco(getattr(trainer.datamodule, "class_names", None) or [])
            table.remove_parts()
            if columns and name == "predict":
                print(f"predictions: {table.path}")

    on_test_epoch_end = on_predict_epoch_end

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the files; a command that is typed again goes on with them."""
        for table in self._tables.values():
            table.file.close()

    def _append(
        self,
        trainer: Any,
        name: str,
        results: list[Any],
        targets: Any,
        samples: Any,
        indices: Sequence[int] = (),
        inputs: Any = None,
    ) -> None:
        """Append a row for each result, and for each input that could not be read; with `inputs` pictures too."""
        from trainworks.models.results import target_columns

        table, data = self._tables[name], trainer.datamodule
        if table.complete and not indices and samples is None and trainer.world_size > 1:
            self._leave_out(trainer, name, "several processes share a loader that does not say which samples are whose")
        if not table.complete:
            return
        errors, class_names = getattr(data, "errors", None), getattr(data, "class_names", None)
        found = iter(enumerate(zip(results, _listed(targets, len(results)), strict=False)))
        rows: dict[int, dict[str, Any]] = {}
        for index, error in zip_longest(indices or table.next_indices(len(results)), errors or ()):
            number, known = table.num_done + index, samples.name(index) if hasattr(samples, "name") else None
            row = rows[number] = {"input": number if known is None else known}
            if not error:
                place, (result, target) = next(found)
                picture = None if inputs is None else f"{number:06}-{Path(str(row['input'])).stem[:50]}.png"
                row |= target_columns(target, result, class_names) | self._columns(result, table.path, picture)
                if self.draw and picture is not None:
                    _draw(
                        result,
                        inputs[place],
                        getattr(data, "eval_transform", []),
                        _folder(table.path, "drawn") / picture,
                    )
            if errors is not None:
                row["error"] = error
        table.append(rows)

    def _columns(self, result: Any, path: Path, picture: str | None) -> dict[str, Any]:
        """Return the columns of one result; a mask is written as a picture, if that has a name."""
        if not hasattr(result, "columns"):
            return dict(result) if isinstance(result, Mapping) else {"prediction": result}
        columns: dict[str, Any] = {}
        if picture is not None and hasattr(result, "mask"):
            columns["mask"] = str(_folder(path, "masks") / picture)
            result.image().save(columns["mask"])
        columns |= result.columns(self.top_k)
        if self.probabilities and hasattr(result, "probabilities"):
            columns |= {f"probability_{label}": value for label, value in result.probabilities.items()}
        return columns

    def _leave_out(self, trainer: Trainer, name: str, reason: str) -> None:
        """Write no table of a set, and say so."""
        self._tables[name].complete = False
        if trainer.is_global_zero:
            print(f"{self._tables[name].path.name} is left out: {reason}")


def _listed(targets: Any, count: int) -> Sequence[Any]:
    """Return what stands in a table of so many targets, None for each where they are masks or anything else."""
    if isinstance(targets, Tensor) and targets.ndim in (1, 2):
        targets = targets.tolist()
    return targets if isinstance(targets, list) and len(targets) == count else [None] * count


def _folder(path: Path, kind: str) -> Path:
    """Return the folder of a table's pictures."""
    folder = path.with_name(f"{path.stem}_{kind}")
    folder.mkdir(exist_ok=True)
    return folder


def _draw(result: Any, image: Tensor, transforms: list[Any], path: Path) -> None:
    """Draw a mask or boxes over their image."""
    from torchvision.transforms.v2.functional import to_pil_image

    from trainworks.callbacks.helpers.drawing import denormalize, draw_target  # with Matplotlib

    target = getattr(result, "mask", None)
    if hasattr(result, "boxes"):
        target = {"boxes": result.boxes, "names": result.labels}
    plain = denormalize(image[None], transforms)[0].expand(3, -1, -1)
    to_pil_image(draw_target(plain, target)).save(path)
