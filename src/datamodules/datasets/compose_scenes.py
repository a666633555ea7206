"""Images composed of several digits, with the exact mask and box of every digit."""

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

INK_THRESHOLD = 96  # least value, of 255, with which a pixel of an enlarged digit counts as part of the digit
DIGIT_SIZES = (14, 30)  # least and greatest height and width in pixels of an enlarged digit, which was 8x8
MAX_TRIES = 20  # random corners tried for a digit before it is left out


class Scenes(NamedTuple):
    """Images with their masks and boxes; class 0 is background, and the class of a digit is the digit plus 1."""

    images: Tensor  # values 0 to 255, shape (N, 3, H, W)
    masks: Tensor  # the class of each pixel, shape (N, H, W)
    boxes: Tensor  # corners x1, y1, x2, y2 in pixels, shape (N, max_digits, 4); padded with zeros
    labels: Tensor  # the class of each box, shape (N, max_digits); padded with zeros


def compose_scenes(
    digits: np.ndarray, classes: np.ndarray, num_scenes: int, size: int, max_digits: int, seed: tuple[int, int]
) -> Scenes:
    """Draw `num_scenes` scenes of size x size pixels with 1 to `max_digits` digits, each from (seed, its number).

    `digits` have values 0 to 255 and shape (D, h, w); `classes`, shape (D,), say which digit each of them shows.
    """
    images = np.empty((num_scenes, size, size, 3), dtype=np.uint8)
    masks = np.zeros((num_scenes, size, size), dtype=np.uint8)
    boxes = np.zeros((num_scenes, max_digits, 4), dtype=np.float32)
    labels = np.zeros((num_scenes, max_digits), dtype=np.int64)
    for number in range(num_scenes):
        random = np.random.default_rng((*seed, number))
        canvas = _background(random, size)
        placed = 0
        for digit in random.choice(len(digits), random.integers(1, max_digits + 1)):
            alpha = _enlarged(random, digits[digit])
            corner = _corner(random, alpha, boxes[number, :placed], size)
            if corner is not None:
                (top, left), (height, width), label = corner, alpha.shape, classes[digit] + 1
                window = slice(top, top + height), slice(left, left + width)
                colour = random.integers(128, 256, 3)  # a bright one of its own
                canvas[window] += alpha[:, :, None] / np.float32(255) * (colour - canvas[window])
                masks[number][window][alpha >= INK_THRESHOLD] = label
                boxes[number, placed], labels[number, placed] = (left, top, left + width, top + height), label
                placed += 1
        images[number] = canvas.clip(0, 255)
    return Scenes(*map(torch.from_numpy, (images.transpose(0, 3, 1, 2).copy(), masks, boxes, labels)))


def _background(random: np.random.Generator, size: int) -> np.ndarray:
    """Return blurred patches of colour with noise, values of about -30 to 160, shape (size, size, 3)."""
    patches = Image.fromarray(random.integers(0, 128, (5, 5, 3), dtype=np.uint8))
    smooth = np.asarray(patches.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32)
    return smooth + random.integers(-32, 33, (size, size, 1), dtype=np.int8)


def _enlarged(random: np.random.Generator, digit: np.ndarray) -> np.ndarray:
    """Return a digit at a random size, without empty margins, values 0 to 255."""
    side = int(random.integers(DIGIT_SIZES[0], DIGIT_SIZES[1] + 1))
    large = np.asarray(Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC))
    rows, columns = (np.flatnonzero((large >= INK_THRESHOLD).any(axis=axis)) for axis in (1, 0))
    return large[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _corner(random: np.random.Generator, alpha: np.ndarray, boxes: np.ndarray, size: int) -> tuple[int, int] | None:
    """Return row and column of a top left corner where a digit overlaps no box, or None if none was found."""
    height, width = alpha.shape
    for _ in range(MAX_TRIES):
        top, left = int(random.integers(size - height + 1)), int(random.integers(size - width + 1))
        apart = (left >= boxes[:, 2]) | (left + width <= boxes[:, 0])
        apart |= (top >= boxes[:, 3]) | (top + height <= boxes[:, 1])
        if apart.all():
            return top, left
    return None
