import importlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, is_dataclass
from functools import cached_property
from inspect import isroutine
from pathlib import Path
from typing import Any, get_type_hints

import torch
from jsonargparse import ArgumentParser
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.utilities.model_helpers import is_overridden

from trainworks.errors import UsageError, listed
from trainworks.models.misfit import shape_of
from trainworks.models.tiles import join_masks, predict_tiles
from trainworks.runs.checkpoint_io import read_checkpoint
from trainworks.runs.class_paths import drop_defaults
from trainworks.runs.files import TRUSTED, is_checkpoint, trusting
from trainworks.runs.plain_data import DATA, MODULE, import_classes
from trainworks.runtime.threads import limited_threads, threads_for


def load_model(path: str | Path, map_location: str | torch.device = "cpu", trust: bool = False) -> LightningModule:
    """Rebuild a trained module from its checkpoint alone, in eval mode.

    The module that the checkpoint names is imported, and so are its network, loss and metrics: do it only where you
    trust the file (docs/security.md). `class_names` are those of the data it was trained on, in the order of its
    outputs, or None. `predict(x)` takes inputs as they come, see `Predictor`, unless the class has a `predict` itself.

    Args:
        path: A checkpoint that `train.py` wrote, such as logs/digits/<run_name>/checkpoints/best.ckpt.
        map_location: Where its weights go.
        trust: Whether the checkpoint may hold objects, which can run code when it is read.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the checkpoint does not say how its module was built, or names something that is no
            LightningModule or cannot be imported, or whose weights are made later.
    """
    if not is_checkpoint(Path(path)):
        raise FileNotFoundError(f"{path} is no checkpoint; write a file such as RUN/checkpoints/best.ckpt")
    with trusting(trust or bool(TRUSTED.get())):
        import_classes(Path(path))
        checkpoint = read_checkpoint(path)
        module: LightningModule = build(checkpoint.get(MODULE, {"class_path": None}), LightningModule, path)
    module.configure_model()
    module.on_load_checkpoint(checkpoint)
    weights, strict = checkpoint["state_dict"], module.strict_loading
    lacking = sorted(weights.keys() - module.state_dict().keys())
    if is_overridden("setup", module) and lacking and (strict or len(lacking) == len(weights)):
        what = f"{path}: {type(module).__name__} makes {listed(lacking, 3)} in setup, which needs a trainer"
        raise ValueError(f"{what}; make it in configure_model, or build the module yourself and load its state_dict")
    module.load_state_dict(weights, strict=strict)
    states = {name: part for name, part in checkpoint.items() if isinstance(part, dict) and "class_counts" in part}
    names = [part.get("class_names") or list(part["class_counts"]) for part in states.values()]
    module.class_names = (names[0] if names else None) or None  # type: ignore[assignment]
    if not hasattr(type(module), "predict"):  # of its own
        module.predict = Predictor(module, checkpoint.get(DATA), states)  # type: ignore[assignment]
    return module.to(map_location).eval()


@dataclass
class Predictor:
    """Predict on inputs as they come, such as files or rows: what `load_model` gives a module as its `predict`."""

    module: LightningModule
    description: dict[str, Any] | None  # class path and arguments of its datamodule, if the checkpoint says them
    states: dict[str, Any]  # what the checkpoint keeps of the data, by the name of the datamodule's class

    @cached_property
    def data(self) -> Any:
        """The datamodule that reads inputs as those were read that the module was trained on; it loads nothing."""
        if self.description is None:
            raise UsageError("this checkpoint does not say how its inputs are made; only those written by train.py do")
        data: Any = build(self.description, LightningDataModule, "this checkpoint")
        if not hasattr(data, "batch_of"):
            kind = type(data).__name__
            raise UsageError(f"{kind} does not derive from BaseDataModule, so nobody knows how to read an input for it")
        data.load_input_state(self.states)
        return data

    @torch.inference_mode()
    def __call__(
        self,
        inputs: Any,
        batch_size: int | None = None,
        device: torch.device | str | None = None,
        tile: int | None = None,
        overlap: int = 64,
    ) -> Any:
        """Return a result for one input, such as a ClassResult (see trainworks/models/results.py), or a list of them.

        Args:
            inputs: A path, a folder, a Pillow image, an array (H, W, C) or a tensor (C, H, W) of uint8, a row or the
                path of a table, a text; or a list or batch of them.
            batch_size: Inputs in one batch; that of the training if left out.
            device: Where to compute; where the module is if left out.
            tile: Height and width of the squares in which large images are predicted on, for masks and boxes.
            overlap: Pixels that neighbouring squares share.
        """
        sources = self.data.sources(inputs)
        module = self.module.to(device or self.module.device).eval()
        results: list[Any] = []
        if tile is not None:
            tiled = ([*predict_tiles(module, self.data, self.data.rows(source), tile, overlap)] for source in sources)
            results = [join_masks(parts, dim=0) if hasattr(parts[0], "mask") else parts[0] for parts in tiled]
        step = batch_size or self.data.batch_size
        for start in range(len(results), len(sources), step):
            batch = self.data.batch_for(module, self.data.batch_of(sources[start : start + step], module.device))
            with limited_threads(threads_for(module, batch)):
                returned = module.predict_step(batch, 0)
            found = results_of(returned, min(step, len(sources) - start))
            pairs = zip(sources[start : start + step], found, strict=True)
            results += [self.data.in_original(*pair)[0] for pair in pairs]
        return results[0] if len(sources) == 1 and sources[0] is inputs else results


def results_of(returned: Any, count: int) -> list[Any]:
    """Return what a module's `predict_step` returned for `count` inputs as a list with a result for each of them.

    A list, or a tuple without tensors, has a result for each. What has names, a tuple of tensors, and a bare tensor or
    array, called `prediction`, have parts with a row for each, which become columns: K for shape (B, K). A number of
    the whole batch, such as its loss, is left out.
    """
    if not count:
        raise UsageError("this loader does not say how many inputs a batch has")
    parts = named_parts(returned)
    if parts is None and getattr(returned, "ndim", 0) > 0:
        parts = {"prediction": returned}
    elif parts is None and isinstance(returned, list | tuple):
        are_arrays = [getattr(part, "ndim", 0) > 0 for part in returned]
        if isinstance(returned, tuple) and any(are_arrays):
            parts = {f"prediction_{k}": part for k, part in enumerate(returned)}
        elif len(returned) == count and not (count > 1 and all(are_arrays) and {*map(len, returned)} == {count}):
            return list(returned)  # else they may be parts
    columns: dict[str, list[Any]] = {}
    for name, values in (parts or {}).items():
        num_dims = 1 if isinstance(values, list | tuple) else getattr(values, "ndim", None)
        if num_dims == 0 or isinstance(values, int | float | None):
            continue
        if num_dims not in (1, 2) or len(values) != count:
            raise UsageError(f"predict_step's '{name}' is {shape_of(values)}, not a row for each of {count} inputs")
        split = {f"{name}_{k}": part for k, part in enumerate(values.T)} if num_dims == 2 else {name: values}
        for key, part in split.items():
            columns[key] = [item.tolist() if hasattr(item, "tolist") else item for item in part]
    if not columns:
        raise UsageError(f"predict_step returned {shape_of(returned)}, not a result for each of {count} inputs")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def named_parts(returned: Any) -> dict[str, Any] | None:
    """Return the parts of a mapping or the like, a dataclass or a named tuple by their names; None of anything else."""
    named = getattr(returned, "_asdict", lambda: returned)()
    named = vars(named) if is_dataclass(named) and not hasattr(named, "keys") else named
    has_names = hasattr(named, "keys") and not hasattr(named, "tolist")
    return {name: named[name] for name in named.keys()} if has_names else None  # noqa: SIM118


def build(description: Mapping[str, Any], base: type, where: Any) -> Any:
    """Build what a description names, a class or a function of that kind; any other is a ValueError, and not called."""
    name = description["class_path"]
    if not isinstance(name, str):
        raise ValueError(f"{where} does not say how its module was built; only checkpoints written by train.py do")
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        advice = "put the folder of its file on PYTHONPATH"
        raise ValueError(f"{where} needs {name}, which cannot be imported ({error}); {advice}") from None
    kind = found
    if isroutine(found) and found is not load_model:  # which would read one more file
        with suppress(Exception):  # of any type, where an annotation names what is not there
            kind = get_type_hints(found).get("return")
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise ValueError(f"{where} names {name}, which is no {base.__name__}; it was not called")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(base, "built", fail_untyped=False)
    parsed = parser.parse_object({"built": dict(description)})
    drop_defaults(parsed, {"built": description})
    with trusting(bool(TRUSTED.get())):
        return parser.instantiate(parsed).built
