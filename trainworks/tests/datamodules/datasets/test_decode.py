"""The fast decoders against the slow reference: Pillow at full scale."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.transforms.v2 import functional

from trainworks.datamodules.datasets.decode import UnreadableImage, decode_image, size_of, torchcodec
from trainworks.datamodules.datasets.image_format import ImageFormat
from trainworks.tests.conftest import write_images


def write_photo(path: Path, size: tuple[int, int], mode: str = "RGB") -> Path:
    """Save a picture with edges and texture."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    waves = np.sin(x / 9) * np.cos(y / 13) * 60 + 128 + 40 * ((x // 50 + y // 70) % 2)
    pixels = np.stack([waves, np.roll(waves, 20, 0), 255 - waves], axis=-1) + np.random.default_rng(0).normal(
        0, 4, (height, width, 3)
    )
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert(mode).save(path, quality=90)
    return path


def reference(path: Path, mode: str = "RGB") -> torch.Tensor:
    pixels = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert(mode))
    return torch.from_numpy(pixels.copy()).reshape(*pixels.shape[:2], -1).permute(2, 0, 1)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tif", "ppm"])
def test_decoded_pixels_are_equal(tmp_path: Path, suffix: str) -> None:
    for path in write_images(tmp_path, 3, (61, 47), suffix):
        image, info = decode_image(str(path))
        assert torch.equal(image, reference(path))
        assert (info.width, info.height, info.mode, info.orientation) == (61, 47, "RGB", 1)


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (301, 299)])
def test_resized_pixels_are_within_one_level(tmp_path: Path, size: tuple[int, int]) -> None:
    path = write_photo(tmp_path / "a.jpg", size)
    image, info = decode_image(str(path), min_side=224)
    fitted = ImageFormat(224).place(info.height, info.width).fit(image).int()
    pillow = Image.open(path)
    scale = [max(224 * side // min(size), 224) for side in size]
    resized = torch.from_numpy(np.array(pillow.resize(scale, Image.Resampling.BILINEAR))).permute(2, 0, 1)
    assert (fitted - functional.center_crop(resized, [224, 224]).int()).abs().max() <= 1


def test_scaled_decoding_is_within_four_levels(tmp_path: Path) -> None:
    path = write_photo(tmp_path / "a.jpg", (2000, 1500))
    small, info = decode_image(str(path), min_side=224)
    assert small.shape == (3, 750, 1000)  # half; a quarter would leave fewer than two pixels for each one wanted
    assert (info.width, info.height) == (2000, 1500)
    place = ImageFormat(224).place(info.height, info.width)
    difference = (place.fit(small).int() - place.fit(decode_image(str(path))[0]).int()).abs()
    assert difference.float().mean() < 1
    assert difference.float().quantile(0.999) <= 4


def test_a_stretched_image_keeps_its_edges() -> None:
    image = torch.zeros(1, 10, 40, dtype=torch.uint8)
    image[..., :4] = 255
    left, *right = ImageFormat(10, "stretch").place(10, 40).fit(image)[0, 0].tolist()
    assert left > 200 > max(right)
    assert ImageFormat(10, "crop").place(10, 40).fit(image).max() == 0  # cropped away


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("suffix", "min_side"), [("jpg", None), ("jpg", 20), ("png", None), ("tif", None)])
def test_exif_rotation_is_applied(tmp_path: Path, orientation: int, suffix: str, min_side: int | None) -> None:
    upright = Image.open(write_photo(tmp_path / "upright.png", (200, 120)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    upright.save(path, exif=exif, quality=95)
    image, info = decode_image(str(path), min_side=min_side)
    expected = reference(path)
    assert (info.height, info.width) == size_of(str(path)) == tuple(expected.shape[-2:])
    assert info.orientation == orientation
    if min_side is None:
        assert torch.equal(image, expected)
    else:
        shrunk = functional.resize(expected, list(image.shape[-2:]), antialias=True)
        assert image.shape[-1] < expected.shape[-1]
        assert (image.int() - shrunk.int()).abs().float().mean() < 3


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "RGBA", "LA", "1"])
def test_every_pixel_format_becomes_colour_or_grey(tmp_path: Path, mode: str) -> None:
    path = write_photo(tmp_path / ("a.jpg" if mode == "CMYK" else "a.png"), (40, 30), mode)
    image, info = decode_image(str(path))
    assert (image.shape, info.mode) == ((3, 30, 40), mode)
    assert torch.equal(image, reference(path))
    grey, _ = decode_image(str(path), num_channels=1)
    assert (grey.int() - reference(path, "L").int()).abs().max() <= 3  # libjpeg rounds elsewhere than Pillow


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_are_scaled_not_cut_off(tmp_path: Path, suffix: str) -> None:
    values = np.linspace(0, 65535, 256, dtype=np.uint16).reshape(16, 16)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(values).save(path)
    image, info = decode_image(str(path))
    assert info.mode == "I;16"
    assert torch.equal(image[0], torch.from_numpy((values >> 8).astype(np.uint8)))
    assert image.unique().numel() > 200


DAMAGE = {
    "empty": (lambda data: b"", "the file is empty"),
    "half": (lambda data: data[: len(data) // 2], "truncated"),
    "short": (lambda data: data[:-30], "truncated"),
    "text": (lambda data: b"no image at all", "cannot identify image file"),
}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize(("suffix", "min_side"), [("jpg", None), ("jpg", 30), ("png", None)])
def test_damage_is_an_error_that_names_the_file(tmp_path: Path, kind: str, suffix: str, min_side: int | None) -> None:
    path = write_photo(tmp_path / f"größe 1.{suffix}", (400, 300))
    damage, message = DAMAGE[kind]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UnreadableImage, match=f"größe 1.{suffix}: cannot be read as an image: .*{message}"):
        decode_image(str(path), min_side=min_side)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableImage, match=r"gone.jpg: cannot be read as an image: .*No such file"):
        decode_image(str(tmp_path / "gone.jpg"))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_without_torchcodec_pillow_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    if torchcodec() is None:
        pytest.skip("no torchcodec")
    path = write_photo(tmp_path / "a.jpg", (50, 40), mode)
    fast, _ = decode_image(str(path))
    monkeypatch.setattr("trainworks.datamodules.datasets.decode.torchcodec", lambda: None)
    assert torch.equal(decode_image(str(path))[0], fast)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".npy"])
def test_the_size_of_a_file_is_that_of_the_upright_image(tmp_path: Path, suffix: str) -> None:
    exif, path, pixels = Image.Exif(), tmp_path / f"a{suffix}", np.zeros((20, 30, 3), dtype=np.uint8)
    exif[0x0112] = 6
    if suffix == ".npy":
        np.save(path, pixels)
    else:
        Image.fromarray(pixels).save(path, exif=exif)
    image, wanted = decode_image(str(path))[0], (20, 30) if suffix == ".npy" else (30, 20)
    assert size_of(str(path)) == tuple(image.shape[-2:]) == wanted
    assert size_of(pixels) == (20, 30)
