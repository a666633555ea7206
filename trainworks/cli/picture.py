"""A picture of training samples as they are read and as they are trained on, for the command check."""

import copy
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor
from torch.utils.data import IterableDataset

from trainworks.callbacks.helpers.batch import inputs_of
from trainworks.datamodules.annotations import title_of
from trainworks.datamodules.base import BaseDataModule
from trainworks.datamodules.randomness import KeyedDataset, seed_sample
from trainworks.datamodules.samplers import collate
from trainworks.datamodules.transforms.apply import apply_transforms
from trainworks.errors import UsageError
from trainworks.models.colors import hex_color
from trainworks.models.drawing import draw_sample
from trainworks.models.fonts import use_font_for

ROWS, COLUMNS, SIDE = 4, 4, 256  # of samples; pixels to which the longer side of each image is brought


def draw_samples(data: BaseDataModule, train: Any, names: list[str], path: str) -> None:
    """Draw random training samples with their targets, each before and after the transforms of the training."""
    names = names or [str(k) for k in range(data.num_classes or 0)]
    order = np.random.default_rng(data.run_seed).permutation(0 if isinstance(train, IterableDataset) else len(train))
    indices = [*islice((k for k in order.tolist() if _is_image(train, k)), ROWS * COLUMNS)]
    if not indices:
        raise UsageError("there is nothing to draw: the training samples are no images that can be read")
    trained_on = copy.copy(train)
    if sample_transform := getattr(data, "sample_transform", None):
        trained_on.transform = sample_transform
    titles = [Path(title_of(train, k)).name[-24:] for k in indices]
    use_font_for([*names, *titles])
    figure = Figure(dpi=110, layout="constrained")
    axes = figure.subplots(ROWS, 2 * COLUMNS, subplot_kw={"frame_on": False, "xticks": (), "yticks": ()}).ravel()
    for first, dataset, transforms in ((0, train, []), (1, trained_on, data.train_transform)):
        batch = (data.collate or collate)(KeyedDataset(dataset, data.run_seed).__getitems__(indices))
        seed_sample(data.run_seed, 0, 0)
        batch = apply_transforms(transforms, batch)
        images, targets = batch if isinstance(batch, tuple | list) and len(batch) == 2 else (batch, repeat(None))
        for axis, title, image, target in zip(axes[first::2], titles, images, targets, strict=False):
            drawn = draw_sample(image, target, transforms, names, SIDE / max(image.shape[-2:]))
            axis.imshow(drawn.permute(1, 2, 0).numpy())
            axis.set_title(f"{'transformed' if first else title}\n{_text(target, names)[:28]}".strip(), fontsize=9)
    if isinstance(targets, Tensor) and targets.ndim > 2:
        handles = [Patch(color=hex_color(k), label=name) for k, name in enumerate(names[:24])]
        figure.legend(handles=handles, loc="outside lower center", ncols=12)
    figure.set_size_inches(17.6, 2.5 + 8.4 * max(drawn.shape[1] / SIDE, 0.5))
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    print(f"picture: {path}, {len(indices)} training samples, each as it is read and as it is trained on")


def _is_image(train: Any, index: int) -> bool:
    """Whether the input of a sample is an image that can be read; the report names the others."""
    try:
        return getattr(inputs_of(train[index]), "ndim", 0) == 3
    except Exception:  # whatever the data set raises
        return False


def _text(target: Any, names: list[str]) -> str:
    """Return the class of a target, its labels or its value; nothing where it is drawn."""
    if not isinstance(target, Tensor) or target.ndim > 1:
        return ""
    if target.ndim == 0:
        number = target.item()
        return names[number] if isinstance(number, int) and 0 <= number < len(names) else f"{number:g}"
    shares = zip(names, target.tolist(), strict=False)  # of classes that are blended, or 0 and 1
    return ", ".join(name for name, share in shares if share > 0.05)
