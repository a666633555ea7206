import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from trainworks.datamodules.datasets import ArrayDataset, ImageFiles, ImageFormat
from trainworks.datamodules.datasets.file_index import find_images, pack_names
from trainworks.datamodules.datasets.image_cache import ImageCache, decode_all, describe_unreadable
from trainworks.tests.conftest import ROOT, write_images


def make_images(root: Path, size: int = 16) -> ImageFiles:
    names = pack_names(find_images(str(root)))
    index = ArrayDataset(names, torch.zeros(len(names), dtype=torch.long), names=names)
    return ImageFiles(str(root), index, ImageFormat(size))


def make_cache(tmp_path: Path, limit: int = 10**9) -> ImageCache:
    return ImageCache(tmp_path / "cache", limit, num_threads=2)


def prepare(cache: ImageCache, images: ImageFiles) -> np.ndarray:
    return cache.open(images)[0]


def test_prepared_pixels_are_those_decoded_one_by_one(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 150)
    images = make_images(tmp_path / "images")
    prepared = prepare(make_cache(tmp_path), images)
    memory = np.empty(images.decoded_shape, dtype=np.uint8)
    assert decode_all(images, memory, num_threads=2) == {}
    for item in range(150):
        single = images.read(item).numpy()
        assert np.array_equal(prepared[item], single)
        assert np.array_equal(memory[item], single)


def test_a_prepared_file_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path / "images", 5)
    images = make_images(tmp_path / "images")
    first = prepare(make_cache(tmp_path), images)
    monkeypatch.setattr(ImageFiles, "read", lambda *_: pytest.fail("decoded again"))
    assert np.array_equal(prepare(make_cache(tmp_path), images), first)
    assert {file.suffix for file in (tmp_path / "cache").iterdir()} == {".npy", ".json", ".lock"}


@pytest.mark.parametrize("change", ["content", "more", "fewer", "size"])
def test_changes_make_it_anew(tmp_path: Path, change: str) -> None:
    paths = write_images(tmp_path / "images", 5)
    cache = make_cache(tmp_path)
    before = cache.path(make_images(tmp_path / "images"))
    if change == "content":
        paths[2].write_bytes(paths[1].read_bytes())
    elif change == "more":
        (tmp_path / "images/new.jpg").write_bytes(paths[1].read_bytes())
    elif change == "fewer":
        paths[2].unlink()
    images = make_images(tmp_path / "images", 17 if change == "size" else 16)
    assert cache.path(images) != before
    assert np.array_equal(prepare(cache, images)[2], images.read(2).numpy())


@pytest.mark.parametrize("damage", ["cut", "empty", "header", "record"])
def test_a_damaged_file_is_made_anew(tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_images(tmp_path / "images", 5)
    images, cache = make_images(tmp_path / "images"), make_cache(tmp_path)
    expected, path = prepare(cache, images).copy(), cache.path(images)
    data = path.read_bytes()
    if damage == "record":
        path.with_suffix(".json").write_text("{")
    else:
        path.write_bytes({"cut": data[:-1], "empty": b"", "header": b"\0" * len(data)}[damage])
    assert np.array_equal(prepare(cache, images), expected)
    assert f"{path} is damaged and is made anew" in capsys.readouterr().out


def test_the_files_used_longest_ago_make_room(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = 5 * 3 * 16 * 16 + 128
    cache = make_cache(tmp_path, limit=2 * size + 50)
    folders = [tmp_path / name for name in "abc"]
    paths = []
    for age, folder in zip((100, 300, 0), folders, strict=True):
        write_images(folder, 5)
        paths.append(cache.path(make_images(folder)))
        prepare(cache, make_images(folder))
        if age:
            os.utime(paths[-1], (time.time() - age, time.time() - age))
    assert [path.exists() for path in paths] == [True, False, True]
    assert f"removed the least recently used prepared images to make room: {paths[1]}" in capsys.readouterr().out


def test_no_room_is_said_and_costs_nothing(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 5)
    images = make_images(tmp_path / "images")
    prepare(make_cache(tmp_path), images)
    small = make_cache(tmp_path, limit=5000)
    assert not small.has_room(5001)
    assert small.has_room(4999)
    larger = make_images(tmp_path / "images", 32)
    with pytest.raises(ValueError, match=r"prepared images need 0.00 GB in .*cache; .*data.cache_limit_gb allows 0.00"):
        prepare(small, larger)
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 1


def test_unreadable_images_are_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_images(tmp_path / "images", 5)
    paths[1].write_bytes(b"")
    paths[3].write_bytes(paths[3].read_bytes()[:200])
    images, cache = make_images(tmp_path / "images"), make_cache(tmp_path)
    bad = cache.unreadable(images)
    assert list(bad) == [1, 3]
    assert "001.jpg: cannot be read as an image: the file is empty" in bad[1]
    assert cache.open(images)[1] == bad
    monkeypatch.setattr(ImageFiles, "read", lambda *_: pytest.fail("decoded again"))
    assert cache.unreadable(images) == bad
    assert cache.open(images)[1] == bad


SCRIPT = """
import sys
from pathlib import Path
from trainworks.tests.datamodules.datasets.test_image_cache import make_images, make_cache, prepare
print("ready", flush=True)
sys.stdin.readline()
print(int(prepare(make_cache(Path(sys.argv[1])), make_images(Path(sys.argv[1]) / "images")).sum()), flush=True)
"""


@pytest.mark.two_processes
def test_two_processes_prepare_it_once(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 300)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    pipe = subprocess.PIPE
    pair = [subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) for _ in range(2)]
    for process in pair:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    sums = [process.communicate("go\n", timeout=120)[0] for process in pair]
    assert sums[0] == sums[1] != ""
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 1
    assert not list((tmp_path / "cache").glob("*.tmp"))


@pytest.mark.kills
def test_a_process_killed_while_it_prepares_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 2000)
    images, cache = make_images(tmp_path / "images"), make_cache(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None and process.stdin is not None
        process.stdout.readline()
        process.stdin.write("go\n")
        process.stdin.flush()
        temporary = cache.path(images).with_suffix(".tmp")
        end = time.monotonic() + 60
        while not temporary.exists() and time.monotonic() < end:
            time.sleep(0.001)
        process.kill()
    assert temporary.exists()
    assert not cache.path(images).exists()
    assert np.array_equal(prepare(cache, images)[1999], images.read(1999).numpy())
    assert not temporary.exists()


@pytest.mark.parametrize(("count", "last"), [(1, "  0.jpg"), (10, "  9.jpg"), (11, "  and 1 more")])
def test_ten_unreadable_images_are_listed(count: int, last: str) -> None:
    first, *lines = describe_unreadable([f"{number}.jpg" for number in range(count)]).splitlines()
    assert first == f"{count} unreadable image{'s' if count > 1 else ''}:"
    assert lines[-1] == last
