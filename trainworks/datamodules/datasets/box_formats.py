"""Read the boxes that other tools wrote: COCO's JSON, YOLO's text files, Pascal VOC's XML."""

import json
import os
import re
from collections import defaultdict
from functools import partial
from itertools import accumulate
from typing import Any
from xml.etree import ElementTree

import yaml

from trainworks.datamodules.datasets.box_folder import BoxFolder, split_of
from trainworks.datamodules.datasets.file_index import SPLIT_FOLDERS
from trainworks.errors import UsageError, listed

NATIVE = {
    rb"^\s*\[": "is a list, as Label Studio's own files are; export COCO, or YOLO with images",
    rb'"shapes"\s*:': "is labelme's own; convert its files to COCO or VOC, by labelme2coco or labelme2voc",
    rb"<annotations\b": "is CVAT's own; export COCO 1.0, Ultralytics YOLO Detection or Pascal VOC",
}
Box = tuple[str, list[float]] | None  # class and corners in pixels, None for one that is ignored


def read_boxes(folder: BoxFolder, annotations: dict[str, str] | None) -> None:
    """Find out which format a folder has, and read it; `annotations` are COCO's file of each split."""
    xml, coco, named = folder.ending(".xml"), folder.ending(".json"), [*(annotations or {}).values()]
    for path in () if named else folder.ending(".yaml", ".yml", "classes.txt", "obj.names"):
        spec = None if "/" in path else folder.parse(path, partial(_yolo_spec, is_yaml=path.endswith("ml")))
        if spec is not None:
            return _read_yolo(folder, path, spec)
    for path in [*named, *xml, *coco][:1]:
        head = folder.parse(path, lambda content: content[:4096])
        if kinds := [what for pattern, what in NATIVE.items() if re.search(pattern, head)]:
            raise UsageError(f"{path}: {kinds[0]}")
    if xml and not named:
        _read_voc(folder, xml)
    elif coco or named:
        for split, path in (annotations or _coco_files(coco)).items():
            folder.parse(path, partial(_read_coco, folder, split, path))
    else:
        there = f"it has {len(folder.files):,} images and texts: {listed(folder.files, 3)}"
        wanted = "no names of YOLO (data.yaml, classes.txt, obj.names), .json or .xml"
        raise UsageError(f"data.root {folder.root}: {wanted}; {there}")


def _coco_files(paths: list[str]) -> dict[str, str]:
    paths = [path for path in paths if os.path.basename(path).startswith("instances")] or paths
    files = {split_of(path) or "all": path for path in paths}
    if len(files) < len(paths) or ("all" in files and len(files) > 1):
        raise UsageError(f"of which split is which: {listed(paths)}? Write --data.annotations.train FILE and so on")
    return files


def _read_coco(folder: BoxFolder, split: str, path: str, text: bytes) -> None:
    """Read a file; classes of several files are the same where their names are."""
    content, boxes = json.loads(text), defaultdict(list)
    names = {_key(item["id"]): str(item["name"]) for item in content["categories"]}
    folder.category_ids |= {str(item["name"]): item["id"] for item in content["categories"]}
    for box in content.get("annotations", ()):
        boxes[_key(box.get("image_id"))].append(box)
    for item in content["images"]:
        some, stated = boxes.pop(_key(item["id"]), ()), [float(item.get(side) or 0) for side in ("height", "width")]
        if found := folder.add(split, str(item["file_name"]), path, some, partial(_coco_box, names), stated):
            folder.image_ids[found] = item["id"]
    folder.faults += [f"{path}: boxes of image {key}, which is not listed: {len(some)}" for key, some in boxes.items()]


def _coco_box(names: dict[str, str], raw: dict[str, Any], height: int, width: int) -> Box:
    left, top, across, down = map(float, raw["bbox"])
    ignored = raw.get("iscrowd") or raw.get("ignore")
    return None if ignored else (names[_key(raw["category_id"])], [left, top, left + across, top + down])


def _key(number: Any) -> str:
    """Return a number of COCO's, which some tools write as a text or with a decimal point."""
    return str(number).removesuffix(".0")


def _read_voc(folder: BoxFolder, paths: list[str]) -> None:
    splits, images = dict[str, str](), list[Any]()
    for path in folder.ending(*(f"main/{word}.txt" for word in SPLIT_FOLDERS)):
        splits |= dict.fromkeys(folder.parse(path, _lines), SPLIT_FOLDERS[os.path.basename(path)[:-4].lower()])
    for path in paths:
        name = path.rpartition("Annotations/")[2][:-4]
        if split := splits.get(name) if splits else split_of(os.path.dirname(path)) or "all":
            try:
                image = path[:-4].replace("Annotations/", "JPEGImages/") + ".jpg"  # there are masks of this name too
                images.append((split, image, path, *folder.parse(path, _read_xml)))
            except UsageError as error:
                folder.faults.append(str(error))
    classes = {box.findtext("name", "") for *_, boxes, _ in images for box in boxes}
    folder.category_ids = {name: number for number, name in enumerate(sorted(classes), start=1)}
    for split, image, path, boxes, size in images:
        folder.add(split, image, path, boxes, _voc_box, size)


def _read_xml(content: bytes) -> tuple[list[ElementTree.Element], list[float]]:
    """Return objects, and height and width; a file that may define entities is refused."""
    tree = ElementTree.fromstring(content, ElementTree.XMLParser(target=_NoEntities()))
    return tree.findall("object"), [float(tree.findtext(f"size/{side}") or 0) for side in ("height", "width")]


class _NoEntities(ElementTree.TreeBuilder):
    def doctype(self, *_: Any) -> None:
        raise ValueError("it has a DOCTYPE, which may define entities")


def _voc_box(raw: ElementTree.Element, height: int, width: int) -> Box:
    left, top, right, bottom = (float(raw.findtext(f"bndbox/{side}", "")) for side in ("xmin", "ymin", "xmax", "ymax"))
    difficult = raw.findtext("difficult") == "1"
    return None if difficult else (raw.findtext("name", ""), [left - 1, top - 1, right, bottom])  # the first pixel is 1


def _yolo_spec(content: bytes, is_yaml: bool) -> dict[str, Any] | None:
    """Return what data.yaml or a list of the classes says: names by number, and entries of splits."""
    spec = yaml.safe_load(content) if is_yaml else {"names": _lines(content)}
    names = spec.get("names") if isinstance(spec, dict) else None
    pairs = names.items() if isinstance(names, dict) else enumerate(names or ())
    names = {int(number): str(name) for number, name in pairs if isinstance(name, str | int | float)}
    return spec | {"names": dict(sorted(names.items()))} if names else None


def _read_yolo(folder: BoxFolder, source: str, spec: dict[str, Any]) -> None:
    known, splits = {*map(os.path.dirname, folder.files)}, defaultdict[str, list[str]](list)
    known |= {above for name in known for above in accumulate(name.split("/"), "{}/{}".format) if split_of(above)}
    known.update(folder.files)
    folder.category_ids = {name: number for number, name in spec["names"].items()}

    def end_of(name: str) -> str | None:
        """Return the longest end of a path, perhaps of another machine, that is here."""
        parts = name.replace("\\", "/").rstrip("/").split("/")
        return next((end for start in range(len(parts)) if (end := "/".join(parts[start:])) in known), None)

    for key, split in SPLIT_FOLDERS.items():
        for entry in given if isinstance(given := spec.get(key), list) else [given]:
            if not isinstance(entry, str):
                continue
            end = end_of(f"{spec.get('path', '')}/{entry}") or ""
            if end.endswith(".txt"):
                splits[split] += [end_of(line) or line for line in folder.parse(end, _lines)]
            elif end:
                splits[split] += [path for path in folder.images if path.startswith(f"{end}/")]
            else:
                folder.faults.append(f"{source}: {key} {entry} is not there")
    for path in () if splits else folder.images:
        splits[split_of(os.path.dirname(path)) or "all"].append(path)
    for split, paths in splits.items():
        for path in paths:
            text = f"/{os.path.splitext(path)[0]}.txt"
            beside = [file for file in ("/labels/".join(text.rsplit("/images/", 1))[1:], text[1:]) if file in known]
            lines = folder.parse(beside[0], _lines) if beside else ()
            if path in known:
                folder.add(split, path, [*beside, path][0], lines, partial(_yolo_box, spec))
            else:
                folder.faults.append(f"{source}: image {path} is not there")


def _lines(content: bytes) -> list[str]:
    return [line.strip() for line in content.decode("utf-8-sig").splitlines() if line.strip()]


def _yolo_box(spec: dict[str, Any], raw: str, height: int, width: int) -> Box:
    """Return a box of class, centre, width and height, and perhaps a sixth number, or of class and polygon."""
    number, *values = map(float, raw.split())
    if len(values) in (4, 5) or (len(values) > 5 and "kpt_shape" in spec):
        x, y, across, down = values[:4]
        values = [x - across / 2, y - down / 2, x + across / 2, y + down / 2]
    elif len(values) < 6 or len(values) % 2:
        raise ValueError(f"expected a class and four numbers or a polygon, got '{raw[:80]}'")
    x_values, y_values = [value * width for value in values[::2]], [value * height for value in values[1::2]]
    if number not in spec["names"]:
        raise ValueError(f"there is no class {number:g}; names has {listed([*map(str, spec['names'])], 5)}")
    if max(values) > 2:
        raise ValueError(f"expected shares of width and height from 0 to 1, got '{raw[:80]}'")
    return spec["names"][number], [min(x_values), min(y_values), max(x_values), max(y_values)]
