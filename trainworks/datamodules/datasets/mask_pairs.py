import os
import re
from collections import Counter
from pathlib import Path

from trainworks.datamodules.datasets.file_index import EXTENSIONS, SPLIT_FOLDERS, compile_pattern, find_images
from trainworks.errors import UsageError, listed

WORDS = dict.fromkeys(("images", "image", "imgs", "img", "jpegimages", "leftimg8bit"), "image")  # in folders' names
WORDS |= dict.fromkeys(("masks", "mask", "labels", "annotations", "segmentationclass", "segmentationclasspng"), "mask")
WORDS |= SPLIT_FOLDERS | {"training": "train", "testing": "test"}
OF_IMAGE = re.compile(r"(?<![^/])(image|img)_|_(image|img|sat|leftImg8bit)$", re.IGNORECASE)  # what else a name holds
OF_MASK = re.compile(r"(?<![^/])(mask|label|seg)_|_(masks?|seg|segmentation|labels?|gt|L)$", re.IGNORECASE)
WANTED = (
    "a mask has the name of its image, such as a.jpg and a.png or a_mask.png, in a folder masks beside images; other "
    "names need data.image_pattern or mask_pattern; data.skip_unreadable true leaves files without a partner out"
)
EXPORT = (
    "; export what is in .json and .xml files as masks, a PNG for each image: CVAT calls it Segmentation mask 1.1, "
    "Roboflow Semantic Segmentation Masks, labelme has labelme2voc.py; Label Studio's PNGs of an image must become one"
)

Pairs = dict[str, list[tuple[str, str]]]  # paths of image and mask below the root, by split; "all" if it is unknown


def find_pairs(root: str, patterns: dict[str, str | None], partial: bool) -> tuple[Pairs, list[str]]:
    """Pair the images below `root` with their masks by name; return remarks on what is left out too.

    The names of folders tell images from masks, and the splits, in any order: images/train, train/images, train_images.
    Where none tells it, the names of files do. Other folders belong to a file's name.

    Args:
        root: The folder.
        patterns: Regular expressions of the path of an "image" or a "mask", whose group is the name of both.
        partial: Whether files without a partner are left out; else they are an error.
    """
    compiled = {kind: compile_pattern(f"{kind}_pattern", text) for kind, text in patterns.items() if text}
    others, lists = Counter[str](), _read_lists(Path(root))
    files = [(*_read_path(path, compiled), path) for path in find_images(root, "", others, (*EXTENSIONS, ".gif"))]
    if "mask" not in (kinds := {kind for kind, *_ in files}):
        files = [("mask" if not kind and OF_MASK.search(file[0]) else kind, *file) for kind, *file in files]
    if "image" not in kinds:
        files = [(kind or "image", *file) for kind, *file in files]
    found: dict[str, dict[tuple[str, str], str]] = {"image": {}, "mask": {}, "": {}}
    for kind, name, split, path in sorted(files):  # images before masks
        names = [OF_IMAGE.sub("", part) for part in ([name, OF_MASK.sub("", name)] if kind == "mask" else [name])]
        keys = [(lists.get(part, "") if lists else split, part) for part in names]
        key = next((key for key in keys if key in found["image"]), keys[-1])
        if kind and key[0] and (first := found[kind].get(key)):
            raise UsageError(f"data.root {root}: {first} and {path} have one name; keep one of them; {WANTED}")
        found[kind if key[0] else ""][key] = path
    images, masks, unused = found.values()
    remarks = [f"not read: {len(unused):,} images such as {min(unused.values())}"] if unused else []
    if "test" not in {split for split, _ in masks} and (bare := [key for key in images if key[0] == "test"]):
        remarks.append(f"no test, since its {len(bare):,} images have no masks; predict takes them by --input")
        images = {key: path for key, path in images.items() if key[0] != "test"}
    pairs, single = Pairs(), {"mask": images.keys() - masks.keys(), "image": masks.keys() - images.keys()}
    for key in images.keys() & masks.keys():
        pairs.setdefault(key[0], []).append((images[key], masks[key]))
    for what, keys in single.items():
        paths = sorted((images | masks)[key] for key in keys)
        remarks += [f"{len(paths):,} files have no {what}: {listed(paths)}"] if paths else []
    if not pairs or (any(single.values()) and not partial):
        native = EXPORT if not masks and {".json", ".xml"} & others.keys() else ""
        raise UsageError(f"data.root {root}: {'; '.join(remarks) or 'no images'}; {WANTED}{native}")
    return {split: sorted(files) for split, files in pairs.items()}, remarks


def _read_path(path: str, patterns: dict[str, re.Pattern[str]]) -> tuple[str, str, str]:
    """Return the kind of a file, its name, which is that of its partner, and its split."""
    kind, split, rest = "", "all", list[str]()
    *folders, name = os.path.splitext(path)[0].split("/")
    for folder in folders:
        said = [WORDS.get(word, "") for word in re.split("[ _-]", folder.lower())]
        rest += [] if all(said) else [folder]
        for word in said if all(said) else []:
            kind, split = (word, split) if word in ("image", "mask") else (kind, word)
    for own, pattern in patterns.items():
        if match := pattern.search(path):
            kind, rest, name = own, [], match[min(pattern.groups, 1)]
        elif kind == own:
            kind = ""
    return kind, "/".join([*rest, name]), split


def _read_lists(root: Path) -> dict[str, str]:
    """Return the split of each name in ImageSets/Segmentation/train.txt and the like, as VOC and CVAT have them."""
    lists = [(WORDS.get(path.stem.lower()), path) for path in root.glob("ImageSets/Segmentation/*.txt")]
    return {OF_IMAGE.sub("", name): split for split, path in lists if split for name in path.read_text().split()}
