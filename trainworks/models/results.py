"""The results of predicting, one for each input. In a notebook each shows itself; `columns` are its row of a table."""

import base64
import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.ops import box_iou

from trainworks.errors import UsageError
from trainworks.models.colors import color_of


@dataclass
class ClassResult:
    """The class of an input."""

    label: str
    probability: float
    probabilities: dict[str, float] = field(repr=False)  # of all classes, in the order of their numbers

    def top(self, k: int) -> list[tuple[str, float]]:
        """Return the label, then the other likeliest of k classes, and their probabilities."""
        return sorted(self.probabilities.items(), key=lambda item: (item[0] != self.label, -item[1]))[:k]

    def columns(self, top_k: int = 1) -> dict[str, Any]:
        """Return the k likeliest classes and their probabilities by column."""
        columns: dict[str, Any] = {"class": self.label, "confidence": self.probability}
        for rank, (label, value) in enumerate(self.top(top_k)[1:] if top_k > 1 else (), start=2):
            columns |= {f"class_{rank}": label, f"confidence_{rank}": value}
        return columns

    def _repr_html_(self) -> str:
        return _table(("class", "probability"), [(name, f"{value:.3f}") for name, value in self.top(5)])


@dataclass
class LabelsResult:
    """Those of several labels that are there."""

    labels: list[str]
    probabilities: dict[str, float]  # of all labels

    def columns(self, top_k: int = 1) -> dict[str, Any]:
        """Return the labels, joined."""
        return {"labels": ";".join(self.labels)}

    def _repr_html_(self) -> str:
        rows = sorted(self.probabilities.items(), key=lambda item: -item[1])
        return _table(("label", "probability"), [(name, f"{value:.3f}") for name, value in rows])


@dataclass
class ValueResult:
    """One number, or several by name, in the units of the data."""

    value: float | dict[str, float]

    def columns(self, top_k: int = 1) -> dict[str, Any]:
        """Return the numbers by name."""
        return self.value if isinstance(self.value, dict) else {"value": self.value}

    def _repr_html_(self) -> str:
        values = self.columns()
        return _table(tuple(values), [tuple(f"{value:.6g}" for value in values.values())])


class DrawnResult:
    """A result that is drawn over its image."""

    def image(self, picture: Any = None) -> Image.Image:
        """Draw the result over a path, a Pillow image, an array (H, W, C) or a tensor (C, H, W), or a mask alone."""
        from trainworks.models.drawing import draw_sample, to_image, to_pil_image  # a training draws none

        target = drawable(self, getattr(self, "class_names", None) or ())
        if picture is None and isinstance(target, Tensor):
            drawn = Image.fromarray(target.numpy())
            drawn.putpalette([value for k in range(256) for value in color_of(k)])
            return drawn
        if (picture := getattr(self, "source", None) if picture is None else picture) is None:
            raise UsageError(f"this {type(self).__name__} does not know its image; write image(picture)")
        picture = Image.open(picture) if isinstance(picture, str | Path) else picture
        if isinstance(picture, Image.Image) and picture.mode[0] not in "IF":  # of more than 8 bits
            picture = ImageOps.exif_transpose(picture).convert("RGB")
        pixels = to_image(picture.copy() if hasattr(picture, "copy") else picture)  # an array may be read-only
        if isinstance(target, Tensor) and target.shape != pixels.shape[1:]:
            raise UsageError(f"a mask of {tuple(target.shape)} fits no image of {tuple(pixels.shape[1:])} pixels")
        return to_pil_image(draw_sample(pixels, target))

    def save(self, path: str | Path) -> None:
        """Save what `image()` returns."""
        self.image().save(path)

    def _html(self, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
        """Return the drawn result, if it can be, and a table, which is the picture's alternative text too."""
        text, file = escape(", ".join(" ".join(row[:2]) for row in rows)), io.BytesIO()
        with suppress(Exception):  # such as a file that is gone
            drawn = self.image(getattr(self, "source", None))
            drawn.thumbnail((1024, 1024))
            drawn.save(file, "PNG")
            data = base64.b64encode(file.getvalue()).decode()
            return f'<img alt="{text}" src="data:image/png;base64,{data}">{_table(head, rows)}'
        return _table(head, rows)


@dataclass
class MaskResult(DrawnResult):
    """The class of each pixel."""

    mask: Tensor  # uint8, shape (H, W) of the image; 255 where it was cut off
    confidence: float  # mean probability of the pixels' classes, of all that the network saw
    class_names: list[str]
    source: Any = field(default=None, repr=False, compare=False)  # its image or the path of it, where known

    @property
    def shares(self) -> dict[str, float]:
        """The share of the pixels that each class has."""
        counts = torch.bincount(self.mask.flatten(), minlength=len(self.class_names)).tolist()
        return {name: count / self.mask.numel() for name, count in zip(self.class_names, counts, strict=False)}

    def columns(self, top_k: int = 1) -> dict[str, Any]:
        """Return the confidence and the share of each class."""
        return {"confidence": self.confidence} | {f"share_{name}": share for name, share in self.shares.items()}

    def _repr_html_(self) -> str:
        return self._html(("class", "share"), [(name, f"{share:.1%}") for name, share in self.shares.items() if share])


@dataclass
class BoxResult(DrawnResult):
    """What was found, and where: corners x1, y1, x2, y2 in pixels of the image, shape (M, 4); the surest first."""

    boxes: Tensor
    labels: list[str]
    scores: list[float]
    class_names: list[str] | None = field(default=None, repr=False)  # to draw each class in its colour
    source: Any = field(default=None, repr=False, compare=False)

    def columns(self, top_k: int = 1) -> dict[str, Any]:
        """Return the number of boxes, and what they are."""
        boxes = self.boxes.tolist()
        return {"count": len(self.labels), "boxes": boxes, "labels": self.labels, "scores": self.scores}

    def _repr_html_(self) -> str:
        corners = [", ".join(f"{value:.0f}" for value in box) for box in self.boxes.tolist()]
        scores = [f"{score:.2f}" for score in self.scores]
        return self._html(("class", "score", "x1, y1, x2, y2"), list(zip(self.labels, scores, corners, strict=True)))


@dataclass
class TextResult:
    """A text, and what the model goes on with."""

    prompt: str
    text: str  # with the prompt
    bits_per_byte: float  # of the prompt; 8 for one that says nothing of what comes

    def columns(self, top_k: int = 1) -> dict[str, Any]:
        """Return the text, and what a byte of the prompt takes."""
        return {"text": self.text, "bits_per_byte": self.bits_per_byte}


def target_columns(target: Any, result: Any, class_names: list[str] | None) -> dict[str, Any]:
    """Return the columns of a target beside those of its result; what fits into no cell has none.

    A target is a number, a list of numbers, whose names the result knows, a detector's mapping, or a mask.
    """
    names = class_names or []
    if isinstance(target, Tensor) and isinstance(result, MaskResult) and target.numel() == result.mask.numel():
        wanted, mask = target.cpu().flatten(), result.mask.flatten().cpu()
        counted = (wanted >= 0) & (wanted < 255)  # the others are ignored
        pairs = torch.bincount(256 * wanted[counted].long() + mask[counted], minlength=256**2).view(256, 256)
        return {"iou": (pairs.diag() / (pairs.sum(0) + pairs.sum(1) - pairs.diag())).nanmean().item()}
    if isinstance(target, Mapping) and isinstance(result, BoxResult):
        boxes, labels = (torch.as_tensor(target.get(key, [])).tolist() for key in ("boxes", "labels"))
        truth = {"boxes": boxes, "labels": [names[k] if k < len(names) else str(k) for k in labels]}
        return {"target": truth, "f1": box_f1(result.boxes, result.labels, torch.tensor(boxes), truth["labels"])}
    if isinstance(target, list) and len(target) == 1:
        (target,) = target
    if isinstance(target, int) and not isinstance(result, ValueResult) and 0 <= target < len(names):
        return {"target": names[target]}
    if isinstance(target, int | float):
        return {"target": target}
    if isinstance(target, list) and isinstance(result, LabelsResult):
        present = zip(result.probabilities, target, strict=True)
        return {"target": ";".join(name for name, value in present if value > 0.5)}
    if isinstance(target, list) and isinstance(getattr(result, "value", None), dict):
        return {f"target_{name}": value for name, value in zip(result.value, target, strict=True)}
    return {}


def box_f1(boxes: Tensor, labels: list[Any], true_boxes: Tensor, true_labels: list[Any]) -> float:
    """Return the F1 score of boxes: each matches at most one true box of its class, at an IoU of at least 0.5."""
    from scipy.optimize import linear_sum_assignment  # takes time to import

    same = torch.tensor([one == other for one in labels for other in true_labels], dtype=torch.bool)
    near = box_iou(boxes.reshape(-1, 4).cpu(), true_boxes.reshape(-1, 4).cpu()) >= 0.5
    matches = (near & same.view_as(near)).numpy()
    hits = matches[linear_sum_assignment(matches, maximize=True)].sum()
    return 2 * float(hits) / sum(matches.shape) if any(matches.shape) else 1.0


def drawable(result: Any, names: Sequence[str] = ()) -> Any:
    """Return the mask of a result, or its boxes as torchvision's dictionary, to draw them; None of any other."""
    if not hasattr(result, "boxes"):
        return getattr(result, "mask", None)
    numbers = [names.index(label) if label in names else 1 for label in result.labels]
    return {"boxes": result.boxes, "labels": numbers, "names": result.labels}


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    lines = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in (head, *rows))
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"
