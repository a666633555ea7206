"""Images decoded once: into memory, or into a cache file that all workers and ranks map into memory."""

import contextlib
import hashlib
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from tqdm import tqdm

from trainworks.datamodules.datasets.decode import UnreadableImage
from trainworks.datamodules.datasets.image_dataset import ImageDataset
from trainworks.errors import UsageError

CACHE_VERSION = 1  # raise it when the same images and settings give other pixels
CHUNK_SIZE = 64  # images that a thread decodes before it reports
MAX_LISTED = 10  # unreadable images in a message

DAMAGED_FILE_ERRORS = (OSError, EOFError, ValueError, KeyError)

Unreadable = dict[int, str]  # index of every unreadable image, and the reason


@dataclass(frozen=True)
class ImageCache:
    """A folder of cache files, each with the decoded images of one dataset.

    Args:
        folder: Where the files are.
        limit: Bytes that the folder may hold; the least recently used files make room for new ones.
        num_threads: Number of images decoded at a time.
    """

    folder: Path
    limit: int
    num_threads: int

    def path(self, images: ImageDataset) -> Path:
        """Return the path of the decoded images; its name changes with everything that decides their pixels."""
        key = repr((CACHE_VERSION, images.form, images.fingerprint()))
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npy"

    def has_room(self, size: int) -> bool:
        """Whether `size` bytes fit, once older files are gone."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return size <= min(self.limit, shutil.disk_usage(self.folder).free + self._used_bytes())

    def open(self, images: ImageDataset) -> tuple[np.ndarray, Unreadable]:
        """Map the decoded images into memory; if there is no file yet, one process writes it and the others wait.

        Their shape is (N, C, size, size), with undefined pixels where an image is unreadable.
        """
        path, shape = self.path(images), images.decoded_shape
        with FileLock(path.with_suffix(".lock")):  # makes the folder too
            if path.exists():
                with contextlib.suppress(*DAMAGED_FILE_ERRORS):
                    return _map(path, shape)
                print(f"{path} is damaged and is made anew")
            self._make_room(int(np.prod(shape)) * np.dtype(images.form.dtype).itemsize)
            temporary = path.with_suffix(".tmp")
            try:
                pixels = np.lib.format.open_memmap(temporary, mode="w+", dtype=images.form.dtype, shape=shape)
                _write_unreadable(path, decode_all(images, pixels, self.num_threads))
                pixels.flush()
                del pixels
                with temporary.open("rb+") as file:
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
            return _map(path, shape)

    def unreadable(self, images: ImageDataset) -> Unreadable:
        """Return which images cannot be decoded; the answer is kept in the folder."""
        path = self.path(images)
        with FileLock(path.with_suffix(".lock")):
            with contextlib.suppress(*DAMAGED_FILE_ERRORS):
                return _read_unreadable(path)
            unreadable = decode_all(images, None, self.num_threads)
            _write_unreadable(path, unreadable)
            return unreadable

    def _used_bytes(self) -> int:
        return sum(file.stat().st_size for file in self.folder.glob("*.npy"))

    def _make_room(self, size: int) -> None:
        """Remove the least recently used files until `size` bytes more fit into the limit."""
        if not self.has_room(size):
            free = shutil.disk_usage(self.folder).free
            raise UsageError(
                f"prepared images need {size / 1e9:.2f} GB in {self.folder}; {free / 1e9:.2f} GB are free and "
                f"data.cache_limit_gb allows {self.limit / 1e9:.2f}; raise it, free space, or write data.storage files"
            )
        for oldest in sorted(self.folder.glob("*.npy"), key=lambda file: file.stat().st_mtime):
            if size <= min(self.limit - self._used_bytes(), shutil.disk_usage(self.folder).free):
                return
            print(f"removed the least recently used prepared images to make room: {oldest}")
            for suffix in (".npy", ".json"):
                oldest.with_suffix(suffix).unlink(missing_ok=True)


def decode_all(images: ImageDataset, pixels: np.ndarray | None, num_threads: int) -> Unreadable:
    """Decode every image into `pixels`, shape (N, C, H, W), or only find out which are unreadable."""
    unreadable: Unreadable = {}

    def decode(items: range) -> int:
        for item in items:
            try:
                image = images.read(item).numpy()
                if pixels is not None:
                    pixels[item] = image
            except UnreadableImage as error:
                unreadable[item] = str(error)
        return len(items)

    bar = tqdm(total=len(images), desc="decoding", unit=" images", delay=2, disable=None, leave=False)
    torch_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # each decoding thread uses a core of its own
    try:
        with ThreadPoolExecutor(num_threads) as pool, bar:  # decoders release Python's global lock
            for count in pool.map(decode, chunks(len(images))):
                bar.update(count)
    finally:
        torch.set_num_threads(torch_threads)
    return dict(sorted(unreadable.items()))


def chunks(length: int) -> list[range]:
    """Divide indices into the ranges that a thread takes at a time."""
    return [range(start, min(start + CHUNK_SIZE, length)) for start in range(0, length, CHUNK_SIZE)]


def describe_unreadable(reasons: list[str], what: str = "unreadable image") -> str:
    """Say how many images are unreadable, or what else is wrong, and which."""
    more = [f"and {len(reasons) - MAX_LISTED} more"] if len(reasons) > MAX_LISTED else []
    listed = "".join(f"\n  {line}" for line in [*reasons[:MAX_LISTED], *more])
    return f"{len(reasons)} {what}{'s' if len(reasons) > 1 else ''}:{listed}"


def _map(path: Path, shape: tuple[int, ...]) -> tuple[np.ndarray, Unreadable]:
    pixels = np.load(path, mmap_mode="c")  # copy on write: nobody changes the file
    if pixels.shape != shape:
        raise ValueError(f"expected shape {shape}, got {pixels.shape}")
    with contextlib.suppress(OSError):
        os.utime(path)  # marks it as used now
    return pixels, _read_unreadable(path)


def _read_unreadable(path: Path) -> Unreadable:
    record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return {int(item): reason for item, reason in record["bad"].items()}


def _write_unreadable(path: Path, unreadable: Unreadable) -> None:
    path.with_suffix(".json").write_text(json.dumps({"bad": unreadable}), encoding="utf-8")  # a torn one is damaged
