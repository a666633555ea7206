from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from trainworks.datamodules.datasets.decode import UnreadableImage
from trainworks.datamodules.datasets.image_cache import chunks
from trainworks.errors import UsageError


def image_statistics(dataset: Any, num_threads: int) -> str:
    """Return torchvision's Normalize for a dataset as YAML, with the mean and standard deviation of each channel.

    Pixels are scaled as ToDtype does. Unreadable images are left out.
    """

    def sums(items: range) -> Tensor:
        """Return for each channel the number of its pixels, their sum and that of their squares, shape (3, C)."""
        found = [torch.zeros(3, 1, dtype=torch.float64)]
        for item in items:
            with suppress(UnreadableImage):
                sample = dataset[item]
                image = torch.as_tensor(sample[0] if isinstance(sample, tuple | list) else sample)
                if image.ndim != 3:
                    raise UsageError(f"--statistics is for images, got inputs of shape {tuple(image.shape)}")
                pixels = functional.to_dtype(image, torch.float64, scale=True).flatten(1)
                found.append(torch.stack([torch.ones_like(pixels), pixels, pixels.square()]).sum(dim=2))
        return sum(found[1:], found[0])

    with ThreadPoolExecutor(num_threads) as pool:
        count, total, squares = sum(pool.map(sums, chunks(len(dataset))))
    mean = total / count
    columns = {"mean": mean, "std": (squares / count - mean.square()).clamp(min=0).sqrt()}
    shown = ", ".join(f"{key}: {[float(f'{x:.4g}') for x in values.tolist()]}" for key, values in columns.items())
    return f"- class_path: torchvision.transforms.v2.Normalize\n  init_args: {{{shown}, inplace: true}}"
