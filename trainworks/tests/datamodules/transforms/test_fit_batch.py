from typing import Any

import pytest
import torch

from trainworks.datamodules.datasets.image_format import ImageFormat
from trainworks.datamodules.transforms.fit_batch import FitBatch


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
@pytest.mark.parametrize("size", [(60, 45), (45, 60), (24, 24), (10, 13)])
def test_as_the_images_of_the_data_are_made_to_fit(size: tuple[int, int], fit: Any) -> None:
    image = torch.randint(256, (3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = FitBatch((24, 24), fit)(image[None])[0]
    expected = ImageFormat(24, fit).place(*size).fit(image)
    assert found.dtype == torch.uint8 and found.shape == (3, 24, 24)
    assert (found.int() - expected.int()).abs().max() <= (0 if size == (24, 24) else 1)
