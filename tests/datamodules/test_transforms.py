import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional

from src.datamodules.transforms import RandomFlip, RandomShift


def test_each_image_is_shifted_by_its_own_offset() -> None:
    images = torch.randint(1, 256, (200, 3, 6, 5), dtype=torch.uint8)
    shift = RandomShift(pixels=1, fill=0)
    torch.manual_seed(0)
    shifted, targets = shift(images, torch.arange(200))
    torch.manual_seed(0)
    offsets = shift.make_params([images])
    for image, top, left, result in zip(images, offsets["top"], offsets["left"], shifted, strict=True):
        reference = functional.crop(functional.pad(image, [1]), int(top), int(left), 6, 5)
        assert torch.equal(result, reference)
    assert len({(int(top), int(left)) for top, left in zip(*offsets.values(), strict=True)}) == 9
    assert targets.tolist() == list(range(200))


def test_each_image_is_flipped_by_its_own_coin() -> None:
    images = torch.randint(0, 256, (200, 3, 6, 5), dtype=torch.uint8)
    torch.manual_seed(0)
    flipped, _ = RandomFlip()(images, torch.arange(200))
    kept = [torch.equal(image, result) for image, result in zip(images, flipped, strict=True)]
    mirrored = [torch.equal(image.flip(-1), result) for image, result in zip(images, flipped, strict=True)]
    assert 60 < sum(kept) < 140
    assert all(one != other for one, other in zip(kept, mirrored, strict=True))
    assert torch.equal(RandomFlip(p=1.0)(images), images.flip(-1))


def test_masks_travel_with_their_images() -> None:
    images = torch.randint(0, 256, (50, 1, 6, 6), dtype=torch.uint8)
    masks = tv_tensors.Mask(images.clone())
    for transform in (RandomShift(2), RandomFlip()):
        moved, moved_masks = transform(tv_tensors.Image(images), masks)
        assert torch.equal(moved.as_subclass(torch.Tensor), moved_masks.as_subclass(torch.Tensor))
        assert isinstance(moved_masks, tv_tensors.Mask)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: RandomShift(0), "pixels must be at least 1, got 0"),
        (lambda: RandomFlip(1.5), r"p must be in \[0, 1\], got 1.5"),
    ],
)
def test_impossible_values(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()  # type: ignore[operator]
