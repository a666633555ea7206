"""The results of predicting, one for each input. In a notebook each shows itself; `columns` are its row of a table."""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trainworks.models.colors import color_of

if TYPE_CHECKING:
    from PIL import Image


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


@dataclass
class MaskResult:
    """The class of each pixel."""

    mask: Tensor  # uint8, shape (H, W) of the image; 255 where it was cut off
    confidence: float  # mean probability of the pixels' classes
    class_names: list[str]

    @property
    def shares(self) -> dict[str, float]:
        """The share of the pixels that each class has."""
        counts = torch.bincount(self.mask.flatten(), minlength=len(self.class_names)).tolist()
        return {name: count / self.mask.numel() for name, count in zip(self.class_names, counts, strict=False)}

    def columns(self, top_k: int = 1) -> dict[str, Any]:
        """Return the confidence and the share of each class."""
        return {"confidence": self.confidence} | {f"share_{name}": share for name, share in self.shares.items()}

    def image(self) -> "Image.Image":
        """Return the mask as an image with a colour for each class, class 0 in black."""
        from PIL import Image  # a training draws none

        picture = Image.fromarray(self.mask.numpy())
        picture.putpalette([value for k in range(256) for value in color_of(k)])
        return picture

    def _repr_html_(self) -> str:
        file = io.BytesIO()
        self.image().save(file, "PNG")
        rows = [(name, f"{share:.1%}") for name, share in self.shares.items() if share]
        data = base64.b64encode(file.getvalue()).decode()
        return f'<img src="data:image/png;base64,{data}">' + _table(("class", "share"), rows)


@dataclass
class BoxResult:
    """What was found, and where: corners x1, y1, x2, y2 in pixels of the image, shape (M, 4); the surest first."""

    boxes: Tensor
    labels: list[str]
    scores: list[float]

    def columns(self, top_k: int = 1) -> dict[str, Any]:
        """Return the number of boxes, and what they are."""
        boxes = self.boxes.tolist()
        return {"count": len(self.labels), "boxes": boxes, "labels": self.labels, "scores": self.scores}

    def _repr_html_(self) -> str:
        corners = [", ".join(f"{value:.0f}" for value in box) for box in self.boxes.tolist()]
        scores = [f"{score:.2f}" for score in self.scores]
        return _table(("class", "score", "x1, y1, x2, y2"), list(zip(self.labels, scores, corners, strict=True)))


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
    """Return the columns of a target beside those of its result; what fits into no cell, such as a mask, has none.

    A target is a number, a list of numbers, whose names the result knows, or a detector's mapping of boxes and labels.
    """
    names = class_names or []
    if isinstance(target, Mapping) and isinstance(result, BoxResult):
        boxes, labels = (torch.as_tensor(target.get(key, [])).tolist() for key in ("boxes", "labels"))
        return {"target": {"boxes": boxes, "labels": [names[k] if k < len(names) else str(k) for k in labels]}}
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


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    lines = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in (head, *rows))
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"
