import pytest
import torch

from trainworks.datamodules.datasets.decode import ImageInfo, fit_image
from trainworks.datamodules.transforms.fit_batch import FitBatch


@pytest.mark.parametrize("crop", [True, False])
@pytest.mark.parametrize("size", [(60, 45), (45, 60), (24, 24), (10, 13)])
def test_as_the_images_of_the_data_are_made_to_fit(size: tuple[int, int], crop: bool) -> None:
    image = torch.randint(256, (3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = FitBatch((24, 24), crop)(image[None])[0]
    expected = fit_image(image, 24, crop, ImageInfo(size[1], size[0], "RGB", False))
    assert found.dtype == torch.uint8 and found.shape == (3, 24, 24)
    assert (found.int() - expected.int()).abs().max() <= (0 if size == (24, 24) else 1)
