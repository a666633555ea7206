"""What a trained module says of one input; in a notebook each shows itself."""

import base64
import io
from colorsys import hsv_to_rgb
from dataclasses import dataclass, field
from html import escape
from typing import Any

from PIL import Image
from torch import Tensor


@dataclass
class ClassResult:
    """The class of an input."""

    label: str
    probability: float
    probabilities: dict[str, float] = field(repr=False)  # of all classes, in the order of their numbers

    def top(self, k: int) -> list[tuple[str, float]]:
        """Return the k likeliest classes and their probabilities, the likeliest first."""
        return sorted(self.probabilities.items(), key=lambda item: -item[1])[:k]

    def _repr_html_(self) -> str:
        return _table(("class", "probability"), [(name, f"{value:.3f}") for name, value in self.top(5)])


@dataclass
class LabelsResult:
    """Those of several labels that are there."""

    labels: list[str]
    probabilities: dict[str, float]  # of all labels

    def _repr_html_(self) -> str:
        rows = sorted(self.probabilities.items(), key=lambda item: -item[1])
        return _table(("label", "probability"), [(name, f"{value:.3f}") for name, value in rows])


@dataclass
class ValueResult:
    """One number, or several by name, in the units of the data."""

    value: float | dict[str, float]

    def _repr_html_(self) -> str:
        values = self.value if isinstance(self.value, dict) else {"value": self.value}
        return _table(tuple(values), [tuple(f"{value:.6g}" for value in values.values())])


@dataclass
class MaskResult:
    """The class of each pixel."""

    mask: Tensor  # uint8, shape (H, W), in the size that the network saw
    confidence: float  # mean probability of the pixels' classes
    class_names: list[str]

    @property
    def shares(self) -> dict[str, float]:
        """The share of the pixels that each class has."""
        return {name: float((self.mask == k).float().mean()) for k, name in enumerate(self.class_names)}

    def image(self) -> Image.Image:
        """Return the mask as an image with a colour for each class, class 0 in black."""
        picture = Image.fromarray(self.mask.numpy())
        hues = [hsv_to_rgb(k * 0.38 % 1, 1.0, 1.0) for k in range(255)]  # neighbours differ
        picture.putpalette([0, 0, 0, *(round(255 * value) for hue in hues for value in hue)])
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


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    lines = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in (head, *rows))
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"
