import re
from pathlib import Path

from trainworks.datamodules.datasets.file_index import SPLIT_FOLDERS, find_images
from trainworks.errors import UsageError, listed

WORDS = dict.fromkeys(("images", "image", "imgs", "img", "jpegimages", "leftimg8bit"), "image")  # in folders' names
WORDS |= dict.fromkeys(("masks", "mask", "labels", "annotations", "trimaps", "segmentationclass", "gtfine"), "mask")
WORDS |= SPLIT_FOLDERS | {"training": "train", "testing": "test"}
OF_IMAGE = re.compile(r"(?<![^/])(image|img)_|_(image|img|sat|leftImg8bit)$", re.I)  # what else a file's name holds
OF_MASK = re.compile(r"(?<![^/])(mask|seg)_|_(masks?|seg|segmentation|label|gt|L|gtFine_labelTrainIds)$", re.I)
ADVICE = """a mask has the name of its image, such as a.jpg and a.png or a_mask.png, in a folder masks beside images; \
data.skip_unreadable true leaves files without a partner out. What is in .json and .xml must be exported as masks, a \
PNG for each image: CVAT's Segmentation mask 1.1, Roboflow's Semantic Segmentation Masks, labelme's labelme2voc.py; of \
Label Studio's PNG files those of an image must be drawn into one"""


def find_pairs(root: str, partial: bool) -> tuple[dict[str, list[tuple[str, str]]], list[str]]:
    """Return the images below `root` with their masks, by split ("all" if unknown), and remarks on what is left out.

    The names of folders tell images from masks, and splits: images/train, train/images, train_images; else the names of
    files do. Files without a partner are left out if `partial`, else a UsageError.
    """
    lists = [(WORDS.get(path.stem.lower(), ""), path) for path in Path(root).glob("ImageSets/Segmentation/*.txt")]
    split_of = {OF_IMAGE.sub("", name): split for split, path in lists if split for name in path.read_text().split()}
    files = [(*_read_folders(path), path) for path in find_images(root)]
    kinds, remarks = {kind for kind, *_ in files}, list[str]()
    images, masks = dict[tuple[str, str], str](), dict[tuple[str, str], str]()
    for own, found in (("image", images), ("mask", masks)):
        for kind, split, folder, path in files:
            stem = Path(path).stem
            by_name = "mask" if "mask" not in kinds and OF_MASK.search(stem) else "" if "image" in kinds else "image"
            if own != (kind or by_name):
                continue
            names = [folder + OF_IMAGE.sub("", name) for name in (stem, OF_MASK.sub("", stem))[: 1 + (own == "mask")]]
            keys = [(split_of.get(name, "") if split_of else split, name) for name in names]
            key = next((key for key in keys if key in images), keys[-1])
            if key[0] and (first := found.setdefault(key, path)) != path:
                raise UsageError(f"data.root {root}: {first} and {path} have one name; keep one of them; {ADVICE}")
    for what, these, those in (("mask", images, masks), ("image", masks, images)):
        single = [path for key, path in these.items() if key not in those]
        remarks += [f"{len(single):,} files have no {what}: {listed(single)}"] if single else []
    if images.keys().isdisjoint(masks) or (remarks and not partial):
        raise UsageError(f"data.root {root}: {'; '.join(remarks) or 'no images'}; {ADVICE}")
    pairs: dict[str, list[tuple[str, str]]] = {}
    for key in sorted(images.keys() & masks.keys()):
        pairs.setdefault(key[0], []).append((images[key], masks[key]))
    return pairs, remarks


def _read_folders(path: str) -> tuple[str, str, str]:
    """Return the kind and the split of a file, as its folders say, and the folders that say nothing."""
    kind, split, rest = "", "all", ""
    for folder in path.split("/")[:-1]:
        said = [WORDS.get(word, "") for word in re.split("[ _-]", folder.lower())]
        rest += "" if all(said) else f"{folder}/"
        for word in said if all(said) else []:
            kind, split = (word, split) if word in ("image", "mask") else (kind, word)
    return kind, split, rest
