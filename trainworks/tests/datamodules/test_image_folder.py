from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from trainworks.datamodules import ImageFolderDataModule
from trainworks.tests.conftest import write_images


def make_data(root: Path, **arguments: Any) -> ImageFolderDataModule:
    usual = {"root": str(root), "image_size": 16, "batch_size": 4, "num_workers": 0, "cache_dir": str(root / ".cache")}
    return ImageFolderDataModule(**usual | arguments)


def load(root: Path, **arguments: Any) -> ImageFolderDataModule:
    data = make_data(root, **arguments)
    data.setup("fit")
    return data


def sizes(data: ImageFolderDataModule) -> dict[str, int]:
    return {name: len(split) for name, split in data.splits.items()}  # type: ignore[arg-type]


def test_split_folders(tmp_path: Path) -> None:
    for folder, count in (("train/a b", 20), ("train/ö", 10), ("valid/a b", 3), ("valid/ö", 2), ("test/ö", 4)):
        write_images(tmp_path / folder, count)
    data = load(tmp_path)
    assert sizes(data) == {"train": 30, "val": 5, "test": 4}
    assert data.class_counts == {"a b": 20, "ö": 10}
    images, targets = next(iter(data.test_dataloader()))
    assert (images.shape, images.dtype, targets.tolist()) == ((4, 3, 16, 16), torch.uint8, [1, 1, 1, 1])
    assert data.splits["test"].name(0) == "test/ö/000.jpg"  # type: ignore[attr-defined]


def test_without_validation_a_stratified_share_of_train_validates(tmp_path: Path) -> None:
    for folder, count in (("train/a", 40), ("train/b", 20)):
        write_images(tmp_path / folder, count)
    data = load(tmp_path, val_fraction=0.2)
    assert sizes(data) == {"train": 48, "val": 12}
    assert data.class_counts == {"a": 32, "b": 16}


def test_class_folders_alone_are_split_by_ratio(tmp_path: Path) -> None:
    for folder, count in (("a", 40), ("b", 20)):
        write_images(tmp_path / folder, count)
    data = load(tmp_path, val_fraction=0.25, test_fraction=0.2)
    assert sizes(data) == {"train": 36, "val": 12, "test": 12}
    assert data.class_counts == {"a": 24, "b": 12}


def test_facts_need_no_decoding(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.jpg").write_bytes(b"not decoded")
    facts = make_data(tmp_path, val_fraction=0.0, test_fraction=0.0).facts()
    assert facts == {"num_classes": 3, "class_weights": [1.0, 1.0, 1.0], "class_names": ["a", "b", "c"]}


def test_the_classes_of_a_run_keep_their_numbers_on_other_data(tmp_path: Path) -> None:
    write_images(tmp_path / "b", 3)
    write_images(tmp_path / "c", 3)
    data = make_data(tmp_path, class_names=["a", "b", "c"], test_fraction=0.5)
    assert data.load_splits()["all"].targets.unique().tolist() == [1, 2]  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"no images .* of class a"):
        data.setup("fit")
    (tmp_path / "d").mkdir()
    with pytest.raises(ValueError, match=r"/d: no class of that name; there are 3 classes: a, b, c"):
        load(tmp_path, class_names=["a", "b", "c"])


@pytest.mark.parametrize("storage", ["memory", "cache", "files"])
def test_storage_is_a_choice_of_speed_alone(tmp_path: Path, storage: Any) -> None:
    for name in "ab":
        write_images(tmp_path / name, 10, (40, 30))
    data, reference = load(tmp_path, storage=storage), load(tmp_path, storage="files")
    assert getattr(data.splits["train"], "serves_batches", False) is (storage != "files")
    for (images, targets), (expected, expected_targets) in zip(
        data.train_dataloader(), reference.train_dataloader(), strict=True
    ):
        assert torch.equal(images, expected)
        assert torch.equal(targets, expected_targets)
    where = {"memory": "in memory", "cache": "mapped from", "files": "decoded when needed"}[storage]
    assert f"images: 3x16x16, 0 MB {where}" in data.describe()
    assert (tmp_path / ".cache").exists() is (storage == "cache")


@pytest.mark.parametrize(
    ("memory", "limit_gb", "transform", "expected"),
    [
        (10**6, 1.0, [], "memory"),
        (0, 1.0, [], "cache"),
        (0, 1e-9, [], "files"),
        (10**6, 1.0, [v2.RandomCrop(8)], "files"),
    ],
)
def test_storage_goes_by_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int, limit_gb: float, transform: Any, expected: str
) -> None:
    monkeypatch.setattr("trainworks.datamodules.image_base.MEMORY_LIMIT", memory)
    for name in "ab":
        write_images(tmp_path / name, 5)
    data = load(tmp_path, cache_limit_gb=limit_gb, sample_transform=transform)
    where = {"memory": "in memory", "cache": "mapped from", "files": "decoded when needed"}[expected]
    assert where in data.describe()


def test_sample_transforms_are_for_training_alone_and_differ_by_epoch(tmp_path: Path) -> None:
    for name in "ab":
        write_images(tmp_path / name, 10, (40, 30))
    crop = [v2.RandomResizedCrop(16, scale=(0.1, 0.5))]
    data, plain = load(tmp_path, sample_transform=crop), load(tmp_path, storage="files")
    loaders = data.train_dataloader(), data.train_dataloader()
    first, again = (torch.cat([images for images, _ in loader]) for loader in loaders)
    assert torch.equal(first, again)
    loaders[0].batch_sampler.sampler.set_epoch(1)  # type: ignore[union-attr]
    pixels = {bytes(image.numpy()) for images, _ in loaders[0] for image in images}
    assert not pixels & {bytes(image.numpy()) for image in first}
    assert torch.equal(next(iter(data.val_dataloader()))[0], next(iter(plain.val_dataloader()))[0])
    with pytest.raises(ValueError, match=r"data.sample_transform needs data.storage files, got cache"):
        make_data(tmp_path, sample_transform=crop, storage="cache")


@pytest.mark.parametrize("storage", ["memory", "cache", "files"])
def test_unreadable_images_are_an_error_or_left_out(tmp_path: Path, storage: Any) -> None:
    for name in "ab":
        paths = write_images(tmp_path / name, 10)
        paths[4].write_bytes(b"")
        paths[7].write_bytes(paths[7].read_bytes()[:300])
    options = {"storage": storage, "test_fraction": 0.0, "val_fraction": 0.0, "batch_size": 20}
    if storage == "files":
        data = load(tmp_path, **options)
        with pytest.raises(ValueError, match=r"00[47].jpg: cannot be read as an image"):
            list(data.train_dataloader())
    else:
        with pytest.raises(
            ValueError, match=r"(?s)4 unreadable images:\n.*a/004.jpg.*or write data.skip_unreadable true"
        ):
            load(tmp_path, **options)
    data = load(tmp_path, skip_unreadable=True, **options)
    assert sizes(data) == {"train": 16}
    assert next(iter(data.train_dataloader()))[0].shape == (16, 3, 16, 16)
    assert "skipped 4 unreadable images:" in data.describe()
    names = {data.splits["train"].name(item) for item in range(16)}  # type: ignore[attr-defined]
    assert names == {f"{k}/{item:03}.jpg" for k in "ab" for item in range(10) if item not in (4, 7)}


def test_groups_found_in_names_stay_together(tmp_path: Path) -> None:
    for name in "ab":
        for number, path in enumerate(write_images(tmp_path / name, 20)):
            path.rename(path.with_name(f"patient{number // 4}_{number}.jpg"))
    data = load(tmp_path, group_pattern="(patient[0-9]+)_", num_folds=4, fold=1, test_fraction=0.2)
    groups = {name: set(split.groups) for name, split in data.splits.items()}  # type: ignore[attr-defined]
    assert all(groups.values())
    assert (
        not groups["train"] & groups["val"]
        and not groups["train"] & groups["test"]
        and not groups["val"] & groups["test"]
    )
    each: Any = load(tmp_path, group_pattern="(visit)?[0-9]+", test_fraction=0.0, val_fraction=0.0).splits["train"]
    assert len(set(each.groups)) == 40  # a group that matched nothing is no group
    with pytest.raises(ValueError, match=r"data.group_pattern '\(' is no regular expression"):
        load(tmp_path, group_pattern="(")


def test_a_table_instead_of_folders(tmp_path: Path) -> None:
    write_images(tmp_path / "pictures", 12)
    rows = [f"pictures/{k:03}.jpg,{'cat' if k % 3 else 'dog'},{1 + k % 2}" for k in range(12)]
    (tmp_path / "labels.csv").write_text("path,label,weight\n" + "\n".join(rows))
    data = load(tmp_path, csv_file=str(tmp_path / "labels.csv"), test_fraction=0, val_fraction=0, sampling="weighted")
    assert data.class_counts == {"cat": 8, "dog": 4}
    loader = data.train_dataloader()
    drawn = [loader.dataset.dataset.name(k) for k in loader.batch_sampler.sampler]  # type: ignore
    odd = sum(int(name[-5]) % 2 for name in drawn)
    assert len(drawn) == 12
    assert 7 <= odd <= 9  # two thirds of the weight


def write_labels(tmp_path: Path, rare: int = 2, name: str = "labels.csv") -> str:
    write_images(tmp_path / "pictures", 60)
    rows = [f"pictures/{k:03}.jpg,{k % 2},{int(k < rare)}" for k in range(60)]
    (tmp_path / name).write_text("path,stripe,dot\n" + "\n".join(rows))
    return str(tmp_path / name)


@pytest.mark.parametrize("storage", ["memory", "files"])
def test_several_labels_an_image(tmp_path: Path, storage: Any) -> None:
    arguments = {"csv_file": write_labels(tmp_path), "targets": ["stripe", "dot"], "num_classes": 2, "num_folds": 3}
    data = load(tmp_path, storage=storage, test_fraction=0.0, **arguments)
    assert sizes(data) == {"train": 40, "val": 20} and data.class_names == ["stripe", "dot"]
    rows = {f"pictures/{k:03}.jpg": [k % 2, int(k < 2)] for k in range(60)}
    train: Any = data.splits["train"]
    assert [train[k][1].tolist() for k in range(40)] == [rows[train.name(k)] for k in range(40)]
    _, targets = next(iter(data.train_dataloader()))
    assert (targets.shape, targets.dtype) == ((4, 2), torch.float32)
    stripes, dots = train.targets.sum(dim=0).int().tolist()
    assert f"train 40, val 20; 2 labels: stripe {stripes}, dot {dots}\n" in data.describe()


def test_the_weight_of_a_label_goes_by_how_rare_it_is(tmp_path: Path) -> None:
    data = make_data(
        tmp_path, csv_file=write_labels(tmp_path), targets=["stripe", "dot"], test_fraction=0, val_fraction=0
    )
    data.wanted = {"pos_weight"}
    assert data.facts() == {"num_classes": 2, "pos_weight": [1.0, 29.0], "class_names": ["stripe", "dot"]}
    with pytest.raises(ValueError, match=r"labels.csv: no images .* of class dot"):
        load(tmp_path, csv_file=write_labels(tmp_path, rare=0), targets=["stripe", "dot"])
    with pytest.raises(ValueError, match=r"data.targets \['stripe'\] names columns of a table; write data.csv_file"):
        load(tmp_path, targets=["stripe"])


def test_images_without_classes_to_predict(tmp_path: Path) -> None:
    write_images(tmp_path / "new ones" / "deep", 5)
    data = make_data(tmp_path / "gone", predict_root=str(tmp_path / "new ones"), class_names=["a", "b"], num_classes=2)
    data.setup("predict")
    assert sizes(data) == {"predict": 5}
    assert next(iter(data.predict_dataloader())).shape == (4, 3, 16, 16)
    assert data.splits["predict"].name(1) == "deep/001.jpg"  # type: ignore[attr-defined]


def build(tmp_path: Path, folders: list[str]) -> Path:
    for folder in folders:
        write_images(tmp_path / "data" / folder, 1)
    return tmp_path / "data"


def test_endings_that_are_not_read_are_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "x.svg").touch()
    with pytest.raises(ValueError, match=r"no images to train on; left out, since they are none of .*: 2 \.svg"):
        load(tmp_path / "data")


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ([], r"data: no such folder"),
        (["."], r"neither a folder train nor a folder for each class; it has 1 files but no folder"),
        (["val/a", "test/a"], r"neither a folder train nor a folder for each class; it has test, val"),
        (["Train/a", "Testing/a"], r"it has Testing, Train \(folders of splits are called train, val and test\)"),
        (["p/train/a", "p/val/b"], r"there is only 'p', which holds train, val; write --data.root .*data/p$"),
        (["train/p/a", "train/p/b"], r"train: at least two .* there is only 'p', which holds a, b$"),
        (["a"], r"at least two class folders are needed, there is only 'a'"),
        (["train"], r"train: at least two class folders are needed, there is none"),
        (["train/a", "train/b", "test/c"], r"test/c: no class of that name; there are 2 classes: a, b"),
    ],
)
def test_folders_that_make_no_sense(tmp_path: Path, folders: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(build(tmp_path, folders))


@pytest.mark.parametrize(
    ("folders", "remark"),
    [
        (["a", "b/c", "b/d"], ""),
        (["a/2023", "b/2024", "b/2025"], ""),
        (
            ["train/a", "train/b", "val/a", "Dev/a", "Test/a"],
            "folders beside train, val that are not read: Dev, Test",
        ),
        (["a", "b", "val"], "taken for classes, since there is no folder train: val"),
        (
            ["p1/a", "p1/b", "p2/a", "p2/b"],
            "all class folders hold only folders, of the same names (a, b): are these the classes, or splits?",
        ),
        (
            ["train/p1/a", "train/p1/b", "train/p2/a", "train/p2/b"],
            "all class folders hold only folders, of the same names (a, b): are these the classes, or splits?",
        ),
    ],
)
def test_folders_that_may_not_be_what_they_are_taken_for(tmp_path: Path, folders: list[str], remark: str) -> None:
    data = load(build(tmp_path, folders), val_fraction=0.0, test_fraction=0.0)
    assert data.left_out == remark
    assert data.describe().endswith(remark)


def test_an_empty_class_is_named(tmp_path: Path) -> None:
    for name in "abc":
        write_images(tmp_path / name, 0 if name == "b" else 3)
    with pytest.raises(ValueError, match=r"no images \(.jpg, .*\) of class b"):
        load(tmp_path)


def test_a_misspelt_folder_suggests_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(ValueError, match=r"photo: no such folder \(did you mean photos\?\)"):
        load(tmp_path / "photo")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 0}, "data.image_size must be at least 1, got 0"),
        ({"cache_limit_gb": -1.0}, "data.cache_limit_gb must be at least 0, got -1"),
    ],
)
def test_impossible_values(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_data(tmp_path, **arguments)


def test_grey_images(tmp_path: Path) -> None:
    for name in "ab":
        write_images(tmp_path / name, 6)
    normalize = v2.Normalize([0.1, 0.2, 0.6], [0.2, 0.2, 0.5])
    data = load(tmp_path, num_channels=1, fit="stretch", train_transform=[v2.ToDtype(torch.float32, True), normalize])
    images, _ = next(iter(data.train_dataloader()))
    assert images.shape == (4, 1, 16, 16)
    assert np.ptp(images.numpy()) > 20
    pixels = normalize(images / 255)
    assert (pixels.shape, normalize.mean, normalize.std) == (images.shape, [pytest.approx(0.3)], [pytest.approx(0.3)])
    assert "Normalize: its 3 channels are averaged, see check --statistics true" in data.describe()


@pytest.mark.long
def test_loaders_can_be_sent_to_workers_that_are_not_forked(tmp_path: Path) -> None:
    for name in "ab":
        write_images(tmp_path / name, 6)
    data = load(tmp_path, storage="files", sample_transform=[v2.RandomHorizontalFlip()], num_workers=1)
    loader = data.train_dataloader()
    loader.multiprocessing_context = "spawn"
    images, targets = next(iter(loader))
    reference = load(tmp_path, storage="files", sample_transform=[v2.RandomHorizontalFlip()])
    expected = next(iter(reference.train_dataloader()))
    assert torch.equal(images, expected[0])
    assert torch.equal(targets, expected[1])
