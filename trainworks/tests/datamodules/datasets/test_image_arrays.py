"""Images of any number of channels and bits: what is read is what was written."""

import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from trainworks.datamodules import ImageFolderDataModule
from trainworks.datamodules.datasets.decode import UnreadableImage, decode_image, torchcodec
from trainworks.errors import UsageError

PIXELS = np.random.default_rng(0).integers(0, 65536, (12, 9, 5), dtype=np.uint16)
FIRST = np.moveaxis(PIXELS, -1, 0)
SCALED = torch.from_numpy(FIRST.astype(np.float32)) / 65535


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write colour of 16 bits, which Pillow cannot."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">2I5B", width, height, 16, 2, 0, 0, 0)
    chunks = {b"IHDR": header, b"IDAT": zlib.compress(rows), b"IEND": b""}.items()
    packed = (struct.pack(">I", len(d)) + name + d + struct.pack(">I", zlib.crc32(name + d)) for name, d in chunks)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))


@pytest.mark.parametrize("array", [PIXELS, FIRST, PIXELS.astype(">u2")], ids=["last", "first", "big-endian"])
def test_numpy_files(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", array)
    eight, info = decode_image(str(tmp_path / "a.npy"), 5)
    assert torch.equal(eight, torch.from_numpy((FIRST >> 8).astype(np.uint8)))
    assert (info.width, info.height, info.mode) == (9, 12, "5 channels of uint16")
    assert torch.allclose(decode_image(tmp_path / "a.npy", 5, None, "float32")[0], SCALED)


@pytest.mark.parametrize(
    ("array", "options"),
    [
        (PIXELS, {"planarconfig": "contig"}),
        (FIRST, {"planarconfig": "separate"}),
        (FIRST, {}),
        (PIXELS, {"planarconfig": "contig", "compression": "zlib", "byteorder": ">"}),
        (np.rot90(PIXELS), {"planarconfig": "contig", "extratags": [(274, "H", 1, 6, True)]}),
    ],
    ids=["bands", "planes", "pages", "compressed", "turned"],
)
def test_all_of_a_tiff(tmp_path: Path, array: np.ndarray, options: dict[str, Any]) -> None:
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, array, photometric="minisblack", **options)
    pixels, info = decode_image(str(path), 5, None, "float32")
    assert torch.allclose(pixels, SCALED)
    assert (info.width, info.height) == (9, 12)
    with pytest.raises(UnreadableImage, match=r"num_channels is 4, its shape \(C, H, W\) is \(5,"):
        decode_image(str(path), 4)


def test_three_grey_pages_are_three_channels(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(tmp_path / "a.tif", FIRST[:3].astype(np.uint8), photometric="minisblack")
    assert torch.equal(decode_image(str(tmp_path / "a.tif"))[0], torch.from_numpy(FIRST[:3].astype(np.uint8)))


def test_values_that_are_no_levels_stay_as_they_are(tmp_path: Path) -> None:
    values = np.float32([[-3.5, 0.25], [1000, 7]])
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert torch.equal(decode_image(str(tmp_path / "a.tif"), 1, None, "float32")[0], torch.from_numpy(values)[None])
    for given in (values, values.astype(np.float64), values.astype(np.int32)):
        with pytest.raises(UnreadableImage, match=f"dtype is uint8, its pixels are {given.dtype}; float32 takes them"):
            decode_image(given, 1)
    with pytest.raises(UnreadableImage, match="some of its numbers are NaN or infinite"):
        decode_image(values * np.float32(np.nan), 1, None, "float32")


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_colour_keeps_all_sixteen_bits(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "tif":
        pytest.importorskip("tifffile").imwrite(path, PIXELS[..., :3], photometric="rgb")
    elif torchcodec() is None:
        pytest.skip("no torchcodec")
    else:
        write_png(path, PIXELS[..., :3])
    assert torch.allclose(decode_image(str(path), 3, None, "float32")[0], SCALED[:3])
    eight = torch.from_numpy((FIRST[:3] >> 8).astype(np.uint8))
    assert (decode_image(str(path))[0].int() - eight.int()).abs().max() <= 1  # Pillow rounds


def test_grey_of_sixteen_bits_and_colour_of_eight_are_of_one_scale(tmp_path: Path) -> None:
    Image.fromarray(PIXELS[..., 0]).save(tmp_path / "a.png")
    Image.fromarray((PIXELS[..., :3] >> 8).astype(np.uint8)).save(tmp_path / "b.png")
    deep, ordinary = (decode_image(str(tmp_path / name), 3, None, "float32")[0] for name in ("a.png", "b.png"))
    assert torch.allclose(deep, SCALED[:1].expand(3, -1, -1))
    assert torch.allclose(deep[0], ordinary[0], atol=1 / 255)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_the_first_frame_of_several(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    red = decode_image(str(tmp_path / f"a.{suffix}"))[0]
    assert red.shape == (3, 6, 8)
    assert (red[0].min() > 240, red[2].max() < 15) == (True, True)


def test_transparency_is_kept_where_it_is_a_channel(tmp_path: Path) -> None:
    pixels = (PIXELS[..., :4] >> 8).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert torch.equal(decode_image(str(tmp_path / "a.png"), 4)[0], torch.from_numpy(pixels).movedim(-1, 0))
    assert decode_image(str(tmp_path / "a.png"))[0].shape == (3, 12, 9)


def test_what_lacks_is_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 50)
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    torchcodec.cache_clear()
    with pytest.raises(UsageError, match=r"a.heic: .* write pip install torchcodec") as heic:
        decode_image(str(tmp_path / "a.heic"))
    torchcodec.cache_clear()
    Image.fromarray(PIXELS[..., 0]).save(tmp_path / "a.tif", save_all=True, append_images=[Image.new("I;16", (9, 12))])
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(UsageError, match=r"a.tif: .* write pip install tifffile imagecodecs") as tiff:
        decode_image(str(tmp_path / "a.tif"), 2)
    assert not {heic.type, tiff.type} & {UnreadableImage}  # else it would be kept as unreadable


def test_every_storage_keeps_channels_and_type(tmp_path: Path) -> None:
    for item in range(12):
        folder = tmp_path / "images" / "ab"[item % 2]
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{item}.npy", PIXELS + np.uint16(item))
    found = []
    for storage in ("memory", "cache", "files"):
        options: Any = {"storage": storage, "cache_dir": str(tmp_path / "cache"), "num_channels": 5, "dtype": "float32"}
        data = ImageFolderDataModule(root=str(tmp_path / "images"), image_size=8, **options)
        data.load()
        found.append([data.splits["train"][item][0] for item in range(len(data.splits["train"]))])  # type: ignore
        assert f"images: 5x8x8, {12 * 5 * 64 * 4 / 1e6:,.0f} MB" in data.describe()
    for memory, cache, file in zip(*found, strict=True):
        assert (memory.dtype, memory.shape) == (torch.float32, (5, 8, 8))
        assert torch.equal(memory, cache) and torch.equal(memory, file)
