"""Images decoded once: into memory, or into a file that all workers and ranks map into theirs."""

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

VERSION = 1  # raise it when the same images and settings give other pixels
CHUNK = 64  # images that a thread decodes before it reports
SHOWN = 10  # unreadable images listed in a message

DAMAGE = (OSError, EOFError, ValueError, KeyError)  # what reading a damaged file raises

Bad = dict[int, str]  # index and reason of every unreadable image


@dataclass(frozen=True)
class ImageCache:
    """A folder of prepared files, each with the decoded images of one dataset."""

    folder: Path
    limit: int  # bytes that the folder may hold; the files used longest ago make room for new ones
    num_threads: int  # images decoded at a time

    def path(self, images: ImageDataset) -> Path:
        """Return where the decoded images are or will be; the name changes with all that decides their pixels."""
        key = repr((VERSION, images.form, images.fingerprint()))
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npy"

    def has_room(self, size: int) -> bool:
        """Whether `size` bytes fit, once older files are gone."""
        self.folder.mkdir(parents=True, exist_ok=True)
        held = sum(file.stat().st_size for file in self.folder.glob("*.npy"))
        return size <= min(self.limit, shutil.disk_usage(self.folder).free + held)

    def open(self, images: ImageDataset, path: Path) -> tuple[np.ndarray, Bad]:
        """Map the decoded images, made now if they are not there; one process makes them, the others wait.

        They are uint8 of shape (N, C, size, size), with undefined pixels where an image is unreadable.
        """
        shape = shape_of(images)
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if path.exists():
                with contextlib.suppress(*DAMAGE):
                    return _map(path, shape)
                print(f"{path} is damaged and is made anew")
            self._make_room(int(np.prod(shape)))
            temporary = path.with_suffix(".tmp")
            try:
                pixels = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
                bad = decode_all(images, pixels, self.num_threads)
                pixels.flush()
                del pixels
                _write_record(path, bad)
                with temporary.open("rb+") as file:
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
            return _map(path, shape)

    def unreadable(self, images: ImageDataset) -> Bad:
        """Return which images cannot be decoded, found out once and remembered."""
        path = self.path(images)
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            with contextlib.suppress(*DAMAGE):
                return _read_record(path)
            bad = decode_all(images, None, self.num_threads)
            _write_record(path, bad)
            return bad

    def _make_room(self, size: int) -> None:
        """Remove the files used longest ago until `size` bytes more fit into the limit."""
        if not self.has_room(size):
            free = shutil.disk_usage(self.folder).free
            raise UsageError(
                f"prepared images need {size / 1e9:.2f} GB in {self.folder}; {free / 1e9:.2f} GB are free and "
                f"data.cache_limit_gb allows {self.limit / 1e9:.2f}; raise it, free space, or write data.storage files"
            )
        for oldest in sorted(self.folder.glob("*.npy"), key=lambda file: file.stat().st_mtime):
            held = sum(file.stat().st_size for file in self.folder.glob("*.npy"))
            if size <= min(self.limit - held, shutil.disk_usage(self.folder).free):
                return
            print(f"removed to make room, the prepared images used longest ago: {oldest}")
            for suffix in (".npy", ".json"):
                oldest.with_suffix(suffix).unlink(missing_ok=True)


def shape_of(images: ImageDataset) -> tuple[int, int, int, int]:
    """Return the shape (N, C, size, size) of all images decoded."""
    return len(images), images.form.num_channels, images.form.size, images.form.size


def decode_all(images: ImageDataset, pixels: np.ndarray | None, num_threads: int) -> Bad:
    """Decode every image into `pixels`, shape (N, C, H, W), or only find out which are readable.

    Several threads do it, since decoders let go of Python's lock.
    """
    bad: Bad = {}

    def decode(items: range) -> int:
        for item in items:
            try:
                image = images.read(item)
            except UnreadableImage as error:
                bad[item] = str(error)
            else:
                if pixels is not None:
                    pixels[item] = image.numpy()
        return len(items)

    bar = tqdm(total=len(images), desc="decoding", unit=" images", delay=2, disable=None, leave=False)
    torch_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # each of these threads is busy by itself
    try:
        with ThreadPoolExecutor(num_threads) as pool, bar:
            for count in pool.map(decode, chunks(len(images))):
                bar.update(count)
    finally:
        torch.set_num_threads(torch_threads)
    return dict(sorted(bad.items()))


def chunks(length: int) -> list[range]:
    """Return the items that a thread takes at a time."""
    return [range(start, min(start + CHUNK, length)) for start in range(0, length, CHUNK)]


def listing(reasons: list[str]) -> str:
    """Say how many images are unreadable, and which."""
    more = [f"and {len(reasons) - SHOWN} more"] if len(reasons) > SHOWN else []
    listed = "".join(f"\n  {line}" for line in [*reasons[:SHOWN], *more])
    return f"{len(reasons)} unreadable image{'s' if len(reasons) > 1 else ''}:{listed}"


def _map(path: Path, shape: tuple[int, ...]) -> tuple[np.ndarray, Bad]:
    pixels = np.load(path, mmap_mode="c")  # what is written to it would stay in memory
    if pixels.shape != shape:
        raise ValueError(f"expected shape {shape}, got {pixels.shape}")
    with contextlib.suppress(OSError):
        os.utime(path)  # used now
    return pixels, _read_record(path)


def _read_record(path: Path) -> Bad:
    record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return {int(item): reason for item, reason in record["bad"].items()}


def _write_record(path: Path, bad: Bad) -> None:
    temporary = path.with_suffix(".json.tmp")
    temporary.write_text(json.dumps({"bad": bad}), encoding="utf-8")
    os.replace(temporary, path.with_suffix(".json"))
