import csv
import re
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from trainworks import load_model
from trainworks.datamodules import BoxFilesDataModule, ImageFolderDataModule, MaskFolderDataModule
from trainworks.datamodules.datasets.decode import size_of
from trainworks.errors import UsageError
from trainworks.tests.conftest import QUICK, Train, same_weights

CLASSES = np.kron(np.arange(4, dtype=np.uint8).reshape(2, 2), np.ones((8, 12), np.uint8))  # shape (16, 24)
COLOURS = np.array([[0, 0, 0], [128, 64, 128], [0, 0, 142], [250, 170, 30]], dtype=np.uint8)
NAMES = ["background", "road", "car", "lamp"]
TABLE = {name: tuple(map(int, colour)) for name, colour in zip(NAMES, COLOURS, strict=True)}


def save(path: Path, pixels: np.ndarray, palette: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if palette:
        image.putpalette(COLOURS.tobytes())
    image.save(path)


def write_pair(image: Path, mask: Path, pixels: np.ndarray = CLASSES, palette: bool = False) -> None:
    random = np.random.default_rng(crc32(image.name.encode()))
    save(image, random.integers(0, 255, (*pixels.shape[:2], 3), dtype=np.uint8))
    save(mask, pixels, palette)


def write_folder(root: Path, mask: np.ndarray = CLASSES, count: int = 10, **options: Any) -> str:
    for number in range(count):
        write_pair(root / f"images/{number}.png", root / f"masks/{number}.png", np.roll(mask, number, 1), **options)
    return str(root)


def load(root: str | Path, **options: Any) -> MaskFolderDataModule:
    data = MaskFolderDataModule(root=str(root), **{"image_size": 24, "storage": "memory"} | options)
    for name, value in data.facts().items():
        setattr(data, name, value)
    data.load()
    return data


def masks_of(data: Any) -> torch.Tensor:
    return torch.cat([data.splits[name].targets for name in ("train", "val", "test")])


def pairs_of(root: Path, **options: Any) -> dict[str, list[tuple[str, str]]]:
    """Return the paths of each split's images and masks below the folder."""
    data: Any = MaskFolderDataModule(root=str(root), values=TABLE, **options)
    splits = data.load_splits().items()
    paths = {name: [files.paths(item) for item in range(len(files))] for name, files in splits}
    return {name: [tuple(str(Path(path).relative_to(root)) for path in pair) for pair in paths[name]] for name in paths}


LAYOUTS = {
    "images/{}.jpg masks/{}.png": "all",
    "images/{}.jpg masks/{}_mask.png": "all",
    "img/{}.jpg labels/{}_seg.tif": "all",
    "train/images/{}.jpg train/masks/{}.png": "train",
    "images/train/{}.jpg annotations/train/{}.png": "train",
    "images/training/{}.jpg annotations/training/{}.png": "train",  # ADE20k
    "train_images/{}.jpg train_masks/{}.png": "train",
    "train/{}.jpg train_masks/{}_mask.gif": "train",  # Carvana
    "train/{}.jpg train/{}_mask.png": "train",  # Roboflow
    "{}_sat.jpg {}_mask.png": "all",  # DeepGlobe
    "image_{}.png mask_{}.png": "all",
    "leftImg8bit/train/ulm/{}_leftImg8bit.png gtFine/train/ulm/{}_gtFine_labelTrainIds.png": "train",  # Cityscapes
    "images/{}.jpg annotations/trimaps/{}.png": "all",  # Oxford pets
    "site 1/images/{}.jpg site 1/masks/{}.png": "all",
    "images/{}_mask.jpg masks/{}_mask.png": "all",
    "{}_l.jpg {}_l_mask.png": "all",  # the left one
    "images/{}.jpg masks/{}_L.png": "all",  # CamVid
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pairs_are_found_by_their_names(tmp_path: Path, layout: str) -> None:
    image, mask = (part.strip() for part in layout.replace(".jpg ", ".jpg|").replace(".png ", ".png|").split("|"))
    for name in ("a", "b1"):
        write_pair(tmp_path / image.format(name), tmp_path / mask.format(name))
    (tmp_path / "masks").mkdir(exist_ok=True)
    (tmp_path / "masks/.hidden.png").write_text("")
    assert pairs_of(tmp_path) == {LAYOUTS[layout]: [(image.format(name), mask.format(name)) for name in ("a", "b1")]}


def test_masks_of_single_objects_are_no_images(tmp_path: Path) -> None:
    for folder in ("SegmentationClass", "SegmentationObject"):
        save(tmp_path / f"{folder}/a.png", CLASSES)
    with pytest.raises(UsageError, match=r"1 files have no image: SegmentationClass/a.png; a mask has the name of"):
        pairs_of(tmp_path)
    write_pair(tmp_path / "a.jpg", tmp_path / "SegmentationClass/a.png")
    assert pairs_of(tmp_path) == {"all": [("a.jpg", "SegmentationClass/a.png")]}


def test_voc_lists_its_splits_and_other_images_are_not_read(tmp_path: Path) -> None:
    lists = {"train": "a 1\n", "val": "b", "trainval": "a 1\nb", "Test": "c"}
    for name in ("a 1", "b", "c"):
        write_pair(tmp_path / f"JPEGImages/{name}.jpg", tmp_path / f"SegmentationClass/{name}.png")
        save(tmp_path / f"SegmentationObject/{name}.png", CLASSES)
    save(tmp_path / "JPEGImages/d.jpg", CLASSES)
    for split, names in lists.items():
        (tmp_path / f"ImageSets/Segmentation/{split}.txt").parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"ImageSets/Segmentation/{split}.txt").write_text(names)
    files = {name: [(f"JPEGImages/{name}.jpg", f"SegmentationClass/{name}.png")] for name in ("a 1", "b", "c")}
    assert pairs_of(tmp_path) == {"train": files["a 1"], "val": files["b"], "test": files["c"]}


def test_numbers_palettes_and_colours_are_the_same_classes(tmp_path: Path) -> None:
    bits = CLASSES.astype(np.uint16)
    ways: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
        "numbers": (CLASSES, {}),
        "palette": (CLASSES, {}),
        "grey": (np.stack([CLASSES] * 3, 2), {}),
        "deep": (bits, {}),
        "colours": (COLOURS[CLASSES], {"values": TABLE}),
        "colours of a palette": (CLASSES, {"values": TABLE}),
        "CVAT": (COLOURS[CLASSES], {}),
        "numbers with gaps": (CLASSES * 40, {"values": {name: 40 * k for k, name in enumerate(NAMES)}}),
        "large numbers": (bits * 1000, {"values": {name: 1000 * k for k, name in enumerate(NAMES)}}),
    }
    masks = []
    for name, (pixels, options) in ways.items():
        root = write_folder(tmp_path / name, pixels, palette="palette" in name)
        if name == "CVAT":
            lines = [f"{name}:{','.join(map(str, colour))}::" for name, colour in TABLE.items()]
            Path(root, "labelmap.txt").write_text("# label:color_rgb:parts:actions\n" + "\n".join(lines))
        data = load(root, **options)
        assert data.num_classes == 4
        assert data.class_names == (NAMES if options or name == "CVAT" else ["0", "1", "2", "3"])
        masks.append(masks_of(data))
    assert all(torch.equal(mask, masks[0]) for mask in masks)
    assert masks[0].unique().tolist() == [0, 1, 2, 3, 255]  # padded to a square
    wanted = np.full((24, 24), 255, np.uint8)
    wanted[4:20] = CLASSES
    assert any(np.array_equal(mask, wanted) for mask in masks[0].numpy())


@pytest.mark.parametrize(("values", "options", "found"), [
    ([0, 255], {}, [0, 1]),
    ([0, 1], {}, [0, 1]),
    ([0, 1, 255], {}, [0, 1, 255]),
    ([0, 128], {}, [0, 1]),
    ([0, 255, 128], {"ignored": 128}, [0, 1, 255]),
    ([0, 1, 2], {"ignored": 0}, [255, 0, 1]),
    ([0, 1, 2, 255], {}, [0, 1, 2, 255]),
    ([0, 2], {"num_classes": 5}, [0, 2]),
    ([1, 2, 3], {"values": {"pet": 1, "none": 2, "edge": 3}}, [0, 1, 2]),
    ([0, 2], {"values": {"b": 2, "a": 0}, "class_names": ["a", "b"]}, [0, 1]),
])  # fmt: skip
def test_what_a_value_is_is_decided_over_all_masks(
    tmp_path: Path, values: list[int], options: dict[str, Any], found: list[int]
) -> None:
    for number, value in enumerate(values * 5):  # no mask holds more than one value
        mask = np.full((8, 8), value, np.uint8)
        write_pair(tmp_path / f"train/images/{number}.png", tmp_path / f"train/masks/{number}.png", mask)
    data: Any = load(tmp_path, fit="stretch", val_fraction=0.0, **options)
    classes = {data.splits["train"].name(k): int(data.splits["train"][k][1].max()) for k in range(5 * len(values))}
    assert [classes[f"train/images/{number}.png"] for number in range(len(values))] == found
    assert data.describe().count("mask values: ") == 1
    if values == [0, 255]:
        assert "mask values: 0 is background, 255 is object" in data.describe()
        assert data.class_names == ["background", "object"]


def refused(root: Path, **options: Any) -> str:
    with pytest.raises(UsageError) as raised:
        load(root, **options)
    return str(raised.value)


def test_files_without_a_partner_are_named_or_left_out(tmp_path: Path) -> None:
    write_folder(tmp_path)
    for number in range(12):
        save(tmp_path / f"images/lonely{number:02}.png", CLASSES)
    save(tmp_path / "masks/no.png", CLASSES)
    message = refused(tmp_path)
    assert "12 files have no mask: images/lonely00.png" in message and "lonely09.png and 2 more" in message
    assert "1 files have no image: masks/no.png" in message and "a_mask.png" in message
    data = load(tmp_path, skip_unreadable=True)
    assert len(masks_of(data)) == 10 and "12 files have no mask" in data.describe()
    save(tmp_path / "masks/3_mask.png", CLASSES)
    assert "masks/3.png and masks/3_mask.png have one name" in refused(tmp_path).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize("kind", [MaskFolderDataModule, BoxFilesDataModule, ImageFolderDataModule])
def test_a_missing_folder_and_a_missing_size_are_named(tmp_path: Path, kind: Any) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(UsageError, match=r"^data.root .*photo: no such folder \(did you mean photos\?\)$"):
        kind(root=str(tmp_path / "photo")).load_splits()
    with pytest.raises(UsageError, match=r"^data.image_size must be a number of pixels, got null$"):
        kind(root=str(tmp_path / "photos"), image_size=None).load_splits()


def test_a_missing_folder_of_new_images_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^data.predict_root .*new: no such folder$"):
        ImageFolderDataModule(root="gone", predict_root=str(tmp_path / "new")).load_splits()


def test_what_a_tool_did_not_export_is_named(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", CLASSES)
    (tmp_path / "a.json").write_text("{}")
    message = refused(tmp_path)
    assert "1 files have no mask: a.jpg" in message and "Segmentation mask 1.1" in message and "labelme2voc" in message


@pytest.mark.parametrize(("values", "options", "said"), [
    ([0, 2, 4], {}, r"hold 0, 2, 4; 4 is in .*2.png: .* not the numbers of all classes \(write data.num_classes"),
    ([1, 2, 3], {}, "hold 1, 2, 3; .*write --data.values"),
    ([0, 1, 2], {"num_classes": 2}, "2 is in .*2.png: these are not the numbers of 2 classes from 0 on; write --data"),
    ([0, 1, 7], {"num_classes": 5}, "2.png: no class has the value 7; write --data.values"),
    ([0, 0, 0], {}, "hold 0;"),
    ([0, 1, 9], {"values": {"a": 0, "b": 1}}, "2.png: no class has the value 9"),
    ([0, 1, 9], {"values": {"a": 0, "b": 0}}, "a value of its own for each of"),
    ([0, 1, 9], {"values": {"a": 0, "b": 1}, "class_names": ["a", "c"]}, "each of .*'c'"),
    ([0, 1, 9], {"values": {"a": 0, "b": 70000}}, "1.png: no class has the value 1"),
    ([0, 1, 9], {"num_classes": 300}, "254 classes, got 300"),
])  # fmt: skip
def test_values_that_are_no_classes_are_named(
    tmp_path: Path, values: list[int], options: dict[str, Any], said: str
) -> None:
    for number, value in enumerate(values):
        write_pair(
            tmp_path / f"images/{number}.png", tmp_path / f"masks/{number}.png", np.full((8, 8), value, np.uint8)
        )
    with pytest.raises(UsageError, match=said):
        load(tmp_path, **options)


def test_colours_that_nobody_names_and_masks_of_jpeg_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "colours", COLOURS[CLASSES])
    assert "[128, 64, 128]" in refused(tmp_path / "colours") and "{road: [128, 64, 128]}" in refused(
        tmp_path / "colours"
    )
    noise = np.random.default_rng(0).integers(0, 2, (16, 16), dtype=np.uint8) * 255
    for number in range(3):
        write_pair(tmp_path / f"jpeg/images/{number}.png", tmp_path / f"jpeg/masks/{number}.jpg", noise)
    assert "JPEG files and smooth resizing mix values" in refused(tmp_path / "jpeg")


@pytest.mark.parametrize("value", [-1, 1.5, 70_000])
def test_numbers_that_no_class_has_are_named(tmp_path: Path, value: float) -> None:
    for number in range(3):
        write_pair(tmp_path / f"images/{number}.png", tmp_path / f"masks/{number}.png")
    pixels = np.full((16, 24), value, np.float32 if value == 1.5 else np.int32)
    Image.fromarray(pixels).save(tmp_path / "masks/0.tif")
    (tmp_path / "masks/0.png").unlink()
    assert f"0.tif: cannot be read as an image: a mask holds whole numbers from 0 to 65535, got {value:g}" in refused(
        tmp_path
    )


def test_without_training_masks_those_of_the_test_tell_the_values(tmp_path: Path) -> None:
    for number in range(3):
        pixels = (CLASSES > 1).astype(np.uint8) * 255
        write_pair(tmp_path / f"test/images/{number}.png", tmp_path / f"test/masks/{number}.png", pixels)
    with pytest.raises(UsageError, match="the data has no train split; it has test"):
        load(tmp_path)
    data: Any = MaskFolderDataModule(root=str(tmp_path), num_classes=2, image_size=24)  # as a run has kept it
    assert data.load_splits()["test"].values == [255, 0, 255]


def test_an_unreadable_mask_is_named_or_left_out(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "masks/3.png").write_bytes(b"no image")
    save(tmp_path / "masks/4.png", CLASSES[:8])
    assert "3.png: cannot be read" in refused(tmp_path)
    options: dict[str, Any] = {"values": {name: k for k, name in enumerate(NAMES)}}
    message = refused(tmp_path, **options)
    assert "2 unreadable images" in message and "3.png: cannot be read" in message
    assert "4.png: the mask has 24 x 8 pixels, but its image has 24 x 16" in message
    assert len(masks_of(load(tmp_path, skip_unreadable=True, **options))) == 8


def test_other_values_make_the_cache_anew(tmp_path: Path) -> None:
    write_folder(tmp_path, CLASSES % 2)
    options: dict[str, Any] = {"storage": "cache", "cache_dir": str(tmp_path / "cache")}
    first, second = (load(tmp_path, values=values, **options) for values in ({"a": 0, "b": 1}, {"b": 1, "a": 0}))
    inside = masks_of(first) < 255
    assert torch.equal(masks_of(first)[inside], 1 - masks_of(second)[inside])


CONFIG = """
model:
  class_path: trainworks.tests.examples.segmenter.SegmenterModule
  init_args:
    net:
      class_path: trainworks.tests.examples.segmenter.UNet
      init_args: {in_channels: 3, num_classes: "${data.init_args.num_classes}", widths: [4, 8]}
    loss: {class_path: torch.nn.CrossEntropyLoss, init_args: {ignore_index: 255}}
    optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 0.01}}
data:
  class_path: trainworks.datamodules.MaskFolderDataModule
  init_args:
    image_size: 16
    batch_size: 4
    train_transform:
      - class_path: trainworks.datamodules.transforms.RandomFlip
      - &float {class_path: torchvision.transforms.v2.ToDtype, init_args: {dtype: torch.float32, scale: true}}
    eval_transform: [*float]
"""


def words_for(root: str | Path, run_name: str = "a") -> tuple[str, ...]:
    Path("masks.yaml").write_text(CONFIG)
    return "--config", "masks.yaml", "--data.root", str(root), *QUICK, "--run_name", run_name


def test_check_and_predict_take_masks_of_files(train: Train, tmp_path: Path) -> None:
    root = write_folder(tmp_path / "data", (CLASSES > 1).astype(np.uint8) * 255)
    save(tmp_path / "data/images/9.png", np.zeros((16, 24, 3), np.uint8))
    checked = train("check", *words_for(root)[:4])
    assert checked.code == 0 and "mask values: 0 is background, 255 is object" in checked.out
    assert re.search(r"background +31.25% .*\nobject +31.25% .*\nleft out +37.50%", checked.out)
    assert train("fit", *words_for(root)).code == 0
    config = yaml.safe_load(Path("logs/masks/a/config.yaml").read_text())["data"]["init_args"]
    assert (config["num_classes"], config["class_names"]) == (2, ["background", "object"])
    path = "logs/masks/a/checkpoints/last.ckpt"
    new = ("--input", f"{root}/images", "--output", "new.csv", "--draw", "true")
    for extra in (new, ()):  # new images, and those of the test split
        predicted = train("predict", *words_for(root)[:4], "--ckpt_path", path, *extra)
        assert predicted.code == 0, predicted.err
    files = [*Path("new_masks").iterdir(), *Path("logs/masks/a/predictions_masks").iterdir()]
    files += Path("new_drawn").iterdir()
    assert len(files) == 21 and {size_of(file) for file in files} == {(16, 24)}
    for source in (f"{root}/images/3.png", Image.fromarray(CLASSES)):
        assert load_model(path).predict(source).mask.shape == (16, 24)
    assert train("test", *words_for(root)[:4], "--ckpt_path", path).code == 0
    tables = [Path(f"logs/masks/a/{name}.csv").read_text().splitlines() for name in ("results", "predictions")]
    tested, predicted = ([float(row["share_object"]) for row in csv.DictReader(table)] for table in tables)
    assert tested == predicted and len(tested) == 1  # without what lies around the image


@pytest.mark.long
def test_numbers_palettes_and_colours_give_the_same_weights(train: Train, tmp_path: Path) -> None:
    for name in ("numbers", "palette", "colours"):
        root = write_folder(
            tmp_path / name, COLOURS[CLASSES] if name == "colours" else CLASSES, palette=name == "palette"
        )
        values = f"{{{', '.join(f'{label}: {list(colour)}' for label, colour in TABLE.items())}}}"
        extra = ("--data.values", values) if name == "colours" else ()
        assert train("fit", *words_for(root, name), *extra).code == 0
    first, *others = (tmp_path / "logs/masks" / name for name in ("numbers", "palette", "colours"))
    assert all(same_weights(first, other) for other in others)
