"""Scenes composed from digits: where each digit is, is known to the pixel."""

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

INK = 96  # a pixel belongs to a digit where the enlarged digit is at least so dark, of 255
SIZES = (14, 30)  # least and greatest height and width, in pixels, to which a digit is enlarged from 8
TRIES = 20  # places tried for a digit before it is left out


class Scenes(NamedTuple):
    """Images and what is in them; background is class 0, a digit's class is the digit plus 1."""

    images: Tensor  # values 0 to 255, shape (N, 3, H, W)
    masks: Tensor  # the class of each pixel, shape (N, H, W)
    boxes: Tensor  # corners x1, y1, x2, y2 in pixels, shape (N, most, 4); zeros after an image's last
    labels: Tensor  # the class of each box, shape (N, most); zeros after an image's last


def compose_scenes(
    digits: np.ndarray, classes: np.ndarray, count: int, size: int, most: int, seed: tuple[int, int]
) -> Scenes:
    """Draw `count` scenes of size x size pixels with 1 to `most` digits, each a function of (seed, its number).

    `digits` have values 0 to 255 and shape (D, h, w), `classes` say which digit each shows, shape (D,).
    """
    images = np.empty((count, size, size, 3), dtype=np.uint8)
    masks = np.zeros((count, size, size), dtype=np.uint8)
    boxes = np.zeros((count, most, 4), dtype=np.float32)
    labels = np.zeros((count, most), dtype=np.int64)
    for number in range(count):
        random = np.random.default_rng((*seed, number))
        canvas = _background(random, size)
        placed = 0
        for digit in random.choice(len(digits), random.integers(1, most + 1)):
            alpha = _enlarged(random, digits[digit])
            place = _free_place(random, alpha, boxes[number, :placed], size)
            if place is not None:
                (top, left), (height, width), label = place, alpha.shape, classes[digit] + 1
                window = slice(top, top + height), slice(left, left + width)
                colour = random.integers(128, 256, 3)  # a bright one of its own
                canvas[window] += alpha[:, :, None] / np.float32(255) * (colour - canvas[window])
                masks[number][window][alpha >= INK] = label
                boxes[number, placed], labels[number, placed] = (left, top, left + width, top + height), label
                placed += 1
        images[number] = canvas.clip(0, 255)
    return Scenes(*map(torch.from_numpy, (images.transpose(0, 3, 1, 2).copy(), masks, boxes, labels)))


def _background(random: np.random.Generator, size: int) -> np.ndarray:
    """Return blurred patches of colour under noise, values up to about 160, some below 0, shape (size, size, 3)."""
    patches = Image.fromarray(random.integers(0, 128, (5, 5, 3), dtype=np.uint8))
    smooth = np.asarray(patches.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32)
    return smooth + random.integers(-32, 33, (size, size, 1), dtype=np.int8)


def _enlarged(random: np.random.Generator, digit: np.ndarray) -> np.ndarray:
    """Return a digit at a random size, without empty margins, values 0 to 255."""
    side = int(random.integers(SIZES[0], SIZES[1] + 1))
    large = np.asarray(Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC))
    rows, columns = (np.flatnonzero((large >= INK).any(axis=axis)) for axis in (1, 0))
    return large[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _free_place(random: np.random.Generator, alpha: np.ndarray, boxes: np.ndarray, size: int) -> tuple[int, int] | None:
    """Return the row and column of a corner from which a digit covers none of the boxes, None if none was found."""
    height, width = alpha.shape
    for _ in range(TRIES):
        top, left = int(random.integers(size - height + 1)), int(random.integers(size - width + 1))
        apart = (left >= boxes[:, 2]) | (left + width <= boxes[:, 0])
        apart |= (top >= boxes[:, 3]) | (top + height <= boxes[:, 1])
        if apart.all():
            return top, left
    return None
