import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional

from trainworks.datamodules.transforms import Cutout, RandomCrop, RandomFlip, RandomResizedCrop, RandomShift


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
        (lambda: RandomCrop(0), "RandomCrop: size must be at least 1, got 0"),
        (lambda: RandomResizedCrop(8, scale=(0.5, 1.5)), r"scale in \(0, 1\].*got size 8, scale \(0.5, 1.5\)"),
        (lambda: RandomShift(0), "pixels must be at least 1, got 0"),
        (lambda: Cutout(0), "Cutout: size must be at least 1, got 0"),
        (lambda: RandomFlip(1.5), r"p must be in \[0, 1\], got 1.5"),
    ],
)
def test_impossible_values(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()  # type: ignore[operator]


def test_each_image_is_cropped_at_its_own_place() -> None:
    images = torch.randint(0, 256, (200, 3, 7, 6), dtype=torch.uint8)
    torch.manual_seed(0)
    cropped, _ = RandomCrop(4)(images, torch.arange(200))
    torch.manual_seed(0)
    corners = RandomCrop(4).make_params([images])
    for image, top, left, result in zip(images, corners["top"], corners["left"], cropped, strict=True):
        assert torch.equal(result, functional.crop(image, int(top), int(left), 4, 4))
    assert {(int(top), int(left)) for top, left in zip(*corners.values(), strict=True)} == {
        (top, left) for top in range(4) for left in range(3)
    }
    with pytest.raises(ValueError, match="size must be at most that of the images, 7x6, got 7"):
        RandomCrop(7)(images)


def test_each_image_gets_its_own_rectangle() -> None:
    x = torch.linspace(0, 1, 64)
    images = torch.stack([x.expand(64, 64), x[:, None].expand(64, 64)]).expand(100, 2, 64, 64)  # its own coordinates
    torch.manual_seed(0)
    transform = RandomResizedCrop(32, scale=(0.25, 0.5), ratio=(0.5, 2.0))
    cropped = transform(images)
    torch.manual_seed(0)
    left, top, right, bottom = transform.make_params([images])["boxes"].unbind(1)
    areas, ratios = (right - left) * (bottom - top) / 64**2, (right - left) / (bottom - top)
    assert 0.2 < areas.min() < areas.max() < 0.51
    assert 0.49 < ratios.min() < 0.8 < 1.25 < ratios.max() < 2.01
    middles = cropped.mean(dim=(2, 3)) * 63 + 0.5
    assert torch.allclose(middles, torch.stack([(left + right) / 2, (top + bottom) / 2], dim=1), atol=0.5)
    assert torch.allclose(RandomResizedCrop(64, (1.0, 1.0), (1.0, 1.0))(images), images, atol=1e-5)


def test_a_resized_crop_is_that_of_torchvision() -> None:
    images = torch.randint(0, 256, (1, 3, 16, 16)).float()
    images = functional.resize(images, [80, 80])  # smooth
    transform = RandomResizedCrop(40, scale=(0.5, 0.5), ratio=(1.0, 1.0))
    torch.manual_seed(1)
    left, top, right, _ = transform.make_params([images])["boxes"][0].tolist()
    torch.manual_seed(1)
    side = round(right - left)
    reference = functional.resized_crop(images, round(top), round(left), side, side, [40, 40])
    assert (transform(images) - reference).abs().mean() < 4


def test_masks_take_the_nearest_pixel_of_their_image() -> None:
    masks = tv_tensors.Mask(torch.randint(0, 5, (50, 20, 20)))
    images = tv_tensors.Image(masks.as_subclass(torch.Tensor)[:, None].float())
    for transform in (RandomCrop(12), RandomResizedCrop(20, scale=(0.3, 0.9))):
        moved, moved_masks = transform(images, masks)
        assert moved_masks.shape == moved[:, 0].shape
        assert set(moved_masks.unique().tolist()) <= set(range(5))
        close = (moved[:, 0] - moved_masks).abs() < 2
        assert close.float().mean() > 0.9


def test_a_square_of_each_image_is_covered() -> None:
    torch.manual_seed(0)
    images = torch.ones(300, 3, 12, 10)
    masks = tv_tensors.Mask(torch.ones(300, 12, 10, dtype=torch.long))
    covered, kept = Cutout(4)(tv_tensors.Image(images), masks)
    counts = (covered[:, 0] == 0).sum(dim=(1, 2))
    assert int(counts.max()) == 16
    assert int(counts.min()) == 4  # at a corner
    assert torch.equal(covered[:, 0] == 0, covered[:, 2] == 0)
    assert len(torch.unique(covered, dim=0)) > 80
    assert kept.min() == 1


def test_boxes_ask_for_samples() -> None:
    boxes = tv_tensors.BoundingBoxes([[0, 0, 2, 2]], format="XYXY", canvas_size=(8, 8))  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="put torchvision's transform in PerSample"):
        RandomFlip()(torch.zeros(1, 3, 8, 8), boxes)
