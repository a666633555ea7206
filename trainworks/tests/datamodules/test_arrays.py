from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainworks.datamodules import ArrayDataModule
from trainworks.errors import UsageError

RANDOM = np.random.default_rng(0)
ARRAYS = {"inputs": RANDOM.random((60, 5)), "targets": np.arange(60) % 3}


def save(path: Path, arrays: dict[str, Any] = ARRAYS) -> str:
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    elif path.suffix == ".pt":
        torch.save({name: torch.as_tensor(values) for name, values in arrays.items()}, path)
    elif path.suffix == ".csv":
        header = ",".join([*(f"f{k}" for k in range(5)), *(name for name in arrays if name != "inputs")])
        columns = [arrays["inputs"], *(values[:, None] for name, values in arrays.items() if name != "inputs")]
        table = np.concatenate([column.astype(object) for column in columns], axis=1)
        path.write_text("\n".join([header, *(",".join(map(str, row)) for row in table)]))
    else:
        path.mkdir()
        for name, values in arrays.items():
            np.save(path / f"{name}.npy", values)
    return str(path)


def load(train: str, **arguments: Any) -> ArrayDataModule:
    data = ArrayDataModule(train=train, **{"batch_size": 60, "val_fraction": 0.0, "test_fraction": 0.0} | arguments)
    data.setup("fit")
    return data


@pytest.mark.parametrize("name", ["a.npz", "a.pt", "a.csv", "folder"])
def test_every_kind_of_file_gives_the_same_samples(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / name)
    data = load(path)
    train: Any = data.splits["train"]
    assert (train.inputs.dtype, train.targets.dtype) == (torch.float32, torch.int64)
    assert torch.allclose(train.inputs, torch.from_numpy(ARRAYS["inputs"]).float())
    assert train.targets.tolist() == ARRAYS["targets"].tolist()
    facts = ArrayDataModule(train=path).facts()
    assert (facts["num_classes"], facts["num_features"]) == (3, 5)
    assert load(path, val_fraction=0.2, test_fraction=0.25).class_counts == {"0": 12, "1": 12, "2": 12}


@pytest.mark.parametrize("name", ["a.npz", "a.pt", "a.csv", "folder"])
def test_groups_and_weights_come_along(tmp_path: Path, name: str) -> None:
    extra = {"groups": np.arange(60) // 6, "weights": np.repeat([0.5, 2.0], 30)}
    data = load(save(tmp_path / name, ARRAYS | extra), num_folds=5, sampling="weighted")
    train, val = (data.splits[split] for split in ("train", "val"))
    assert not set(train.groups) & set(val.groups)  # type: ignore[attr-defined]
    assert set(train.weights) == {0.5, 2.0}  # type: ignore[attr-defined]


@pytest.mark.parametrize(("first", "got"), [(-1.0, "got -1"), (np.nan, "got nan"), (0.0, "all are 0")])
def test_weights_that_are_none(tmp_path: Path, first: float, got: str) -> None:
    data = load(save(tmp_path / "a.npz", ARRAYS | {"weights": np.repeat([first, 0], 30)}), sampling="weighted")
    with pytest.raises(UsageError, match=f"weights must be at least 0 and not all 0; {got}"):
        data.train_dataloader()


def test_a_validation_split_that_leaves_no_training_samples(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data.val_fraction 0.999 leaves none of 60 samples for training"):
        load(save(tmp_path / "a.npz"), val_fraction=0.999)


def test_a_folder_is_mapped_not_read(tmp_path: Path) -> None:
    path = save(tmp_path / "folder", {"inputs": np.zeros((60, 5), np.float32), "targets": ARRAYS["targets"]})
    data = load(path)
    with (tmp_path / "folder/inputs.npy").open("r+b") as file:
        file.seek(-4, 2)
        file.write(np.float32(7).tobytes())
    assert data.splits["train"][59][0][4] == 7


def test_images_come_channels_first(tmp_path: Path) -> None:
    for shape, expected in (((9, 8, 8), (1, 8, 8)), ((9, 8, 8, 3), (3, 8, 8)), ((9, 3, 8, 8), (3, 8, 8))):
        arrays = {"inputs": np.zeros(shape, np.uint8), "targets": np.arange(9) % 3}
        sample = load(save(tmp_path / f"{len(expected)}{shape[1]}{len(shape)}.npz", arrays)).splits["train"][0][0]
        assert (sample.shape, sample.dtype) == (expected, torch.uint8)


def test_texts_are_classes_in_one_order_for_all_splits(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("x,kind\n1,b\n2,a\n3,c\n")
    (tmp_path / "test.csv").write_text("x,kind\n4,c\n5,b\n")
    data = load(str(tmp_path / "train.csv"), test=str(tmp_path / "test.csv"), targets="kind")
    assert data.class_names == ["a", "b", "c"]
    assert data.splits["test"].targets.tolist() == [2, 1]  # type: ignore[attr-defined]
    (tmp_path / "test.csv").write_text("x,kind\n4,d\n")
    with pytest.raises(ValueError, match=r"test.csv: label 'd' is none of the 3 classes: a, b, c"):
        load(str(tmp_path / "train.csv"), test=str(tmp_path / "test.csv"), targets="kind")


def test_values_are_no_classes(tmp_path: Path) -> None:
    arrays = {"inputs": ARRAYS["inputs"], "targets": RANDOM.random(60)}
    data = load(save(tmp_path / "a.csv", arrays))
    assert data.class_counts == {}
    assert data.splits["train"].targets.dtype == torch.float32  # type: ignore[attr-defined]
    facts = ArrayDataModule(train=str(tmp_path / "a.csv")).facts()
    assert facts.keys() == {"num_features", "num_targets", "target_mean", "target_std"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"gone.npz: no such file"),
        ({"x.npz": b"not a zip"}, r"x.npz: cannot be read; write an .npz, .pt or .csv file"),
        ({"x.pt": b""}, r"x.pt: cannot be read; write an .npz"),
        ({"x.csv": b"a,b\n1,2\n"}, r"x.csv: no column 'targets'; its header is a, b; write --data.targets NAME"),
        ({"x.csv": b"a,targets\n1,2\nx,3\n"}, r"x.csv, line 3, column 'a': expected a finite number, got 'x'; write"),
        ({"x.csv": b"a,targets\n1,2\n,3\n"}, r"x.csv, line 3, column 'a': the cell is empty; fill it in"),
        ({"x.csv": b"a,targets\n1,2\n\n\nx,3\n"}, r"x.csv, line 5, column 'a'"),
        ({"x.csv": b"targets\n1\n"}, r"x.csv: a table needs rows, and a column beside targets"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: dict[str, bytes] | None, message: str) -> None:
    name, data = next(iter((content or {"gone.npz": b""}).items()))
    if content:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=message):
        load(str(tmp_path / name))


@pytest.mark.parametrize("shape", [(0, 3), ()])
def test_arrays_without_samples(tmp_path: Path, shape: tuple[int, ...]) -> None:
    good = save(tmp_path / "good.npz", ARRAYS)
    path = save(tmp_path / "empty.npz", {"inputs": np.zeros(shape), "targets": np.zeros(0, int)})
    for arguments in ({"train": path}, {"train": good, "val": path}):
        with pytest.raises(UsageError, match=r"empty.npz: the array 'inputs' has no samples; its shape is \("):
            load(**arguments)


def test_targets_of_no_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"data.targets must name an array or a column, got \[\]"):
        load(save(tmp_path / "a.npz", ARRAYS), targets=[])


def test_a_validation_table_without_rows(tmp_path: Path) -> None:
    for name, rows in {"train.csv": "1,2\n", "val.csv": ""}.items():
        (tmp_path / name).write_text("a,targets\n" + rows)
    with pytest.raises(ValueError, match=r"val.csv: a table needs rows"):
        load(str(tmp_path / "train.csv"), val=str(tmp_path / "val.csv"))


def test_arrays_of_other_names(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", {"x_train": ARRAYS["inputs"], "y_train": ARRAYS["targets"]})
    assert len(load(path, inputs="x_train", targets="y_train").splits["train"]) == 60  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"no array 'inputs'; it has x_train, y_train; write --data.inputs NAME"):
        load(path)
    with pytest.raises(ValueError, match=r"a.npz: no array 'targets'; it has .*; write --data.targets NAME"):
        load(path, inputs="x_train")


def test_a_comma_at_the_end_of_each_row_makes_no_feature(tmp_path: Path) -> None:
    (tmp_path / "excel.csv").write_text("a,targets,\n" + "".join(f"7,x{i % 2},\n" for i in range(40)))
    data = load(str(tmp_path / "excel.csv"))
    assert (data.columns, data.class_names) == (["a"], ["x0", "x1"])
    data.columns = None
    (tmp_path / "rows.csv").write_text("a,\n7,\n8,\n")
    assert [row.tolist() for row in data.sources(str(tmp_path / "rows.csv"))] == [[7.0], [8.0]]


def test_numbers_of_rows_are_no_feature(tmp_path: Path) -> None:
    (tmp_path / "pandas.csv").write_text(",a,targets\n" + "".join(f"{i},7,x{i % 2}\n" for i in range(40)))
    data = load(str(tmp_path / "pandas.csv"))
    assert data.columns == ["a"] and set(data.splits["train"].inputs.flatten().tolist()) == {7.0}  # type: ignore[attr-defined]


def test_values_for_a_configuration_of_classes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,targets\n" + "".join(f"{i},{i}.5\n" for i in range(40)))
    data = ArrayDataModule(train=str(tmp_path / "a.csv"))
    data.wanted = {"num_classes"}
    message = "the targets are values; values are for a regressor, as in the template's configs/diabetes.yaml"
    with pytest.raises(UsageError, match=message):
        data.facts()


def test_whole_numbers_are_values_for_a_regressor(tmp_path: Path) -> None:
    for name in ("a.csv", "a.npz"):
        (tmp_path / "a.csv").write_text("a,targets\n" + "".join(f"{i},{i % 5}\n" for i in range(40)))
        np.savez(tmp_path / "a.npz", inputs=np.ones((40, 1)), targets=np.arange(40) % 5)
        data = ArrayDataModule(train=str(tmp_path / name), val_fraction=0, test_fraction=0)
        data.wanted = {"target_mean", "target_std"}
        assert data.facts()["target_mean"] == [2.0]
        data = ArrayDataModule(train=str(tmp_path / name), target_mean=[2.0])
        data.load()
        assert data.splits["train"].targets.dtype == torch.float32  # type: ignore[attr-defined]


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    torch.save({"inputs": Path("a")}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a.pt: cannot be read"):
        load(str(tmp_path / "a.pt"))
    np.savez(tmp_path / "a.npz", inputs=np.array([{"a": 1}], dtype=object), targets=np.zeros(1))
    with pytest.raises(ValueError, match=r"a.npz: cannot be read"):
        load(str(tmp_path / "a.npz"))


@pytest.mark.parametrize("name", ["a.npz", "a.pt", "a.csv", "folder"])
def test_several_targets(tmp_path: Path, name: str) -> None:
    labels = {"warm": np.arange(60) % 2, "wet": np.arange(60) // 30}
    path = save(tmp_path / name, {"inputs": ARRAYS["inputs"]} | labels)
    data = load(path, targets=["warm", "wet"])
    train: Any = data.splits["train"]
    assert torch.equal(
        train.targets, torch.stack([torch.from_numpy(column).float() for column in labels.values()], dim=1)
    )
    assert (data.class_names, data.class_counts) == (["warm", "wet"], {})
    facts = ArrayDataModule(train=path, targets=["warm", "wet"]).facts()
    assert (facts["num_features"], facts["num_targets"], "num_classes" in facts) == (5, 2, False)
    with pytest.raises(ValueError, match=r"no (array|column) 'wett' \(did you mean wet\?\)"):
        load(path, targets=["warm", "wett"])


@pytest.mark.parametrize("kind", [np.float32, np.int64, np.uint8])
def test_an_array_of_labels(tmp_path: Path, kind: type) -> None:
    labels = (RANDOM.random((60, 3)) > 0.5).astype(kind)
    data = load(save(tmp_path / "a.npz", {"inputs": ARRAYS["inputs"], "targets": labels}))
    assert np.array_equal(data.splits["train"].targets.numpy(), labels)  # type: ignore[attr-defined]
    assert data.class_counts == {}
    assert ArrayDataModule(train=str(tmp_path / "a.npz")).facts()["num_targets"] == 3


def test_facts_of_values(tmp_path: Path) -> None:
    values = np.stack([np.arange(60.0), np.full(60, 7.0)], axis=1)
    path = save(tmp_path / "a.npz", {"inputs": ARRAYS["inputs"], "targets": values})
    facts = ArrayDataModule(train=path, val_fraction=0.0, test_fraction=0.0).facts()
    assert facts["target_mean"] == [29.5, 7.0]
    assert facts["target_std"] == pytest.approx([np.arange(60).std(), 1.0])


@pytest.mark.parametrize("row", [[1.0, 2.0], (1.0, 2.0), np.array([1.0, 2.0]), torch.tensor([1.0, 2.0])])
def test_a_row_is_one_input_and_a_list_of_them_several(row: Any) -> None:
    data = ArrayDataModule(train="unused.csv")
    assert [data.read(source).tolist() for source in data.sources(row)] == [[1.0, 2.0]]
    assert [data.read(source).tolist() for source in data.sources([row, row])] == [[1.0, 2.0]] * 2


def test_a_bad_cell_far_down_is_named_by_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainworks.datamodules.datasets.tables.CHUNK_SIZE", 2)
    (tmp_path / "t.csv").write_text("a,b\n1,2\n\n3,4\n5,6\n7,x\n8\n9,\n1,2\n")
    rows = ArrayDataModule(train="unused.csv").sources(str(tmp_path / "t.csv"))
    assert len(rows) == 7 and [rows[k].tolist() for k in (0, 2, 6)] == [[1, 2], [5, 6], [1, 2]]
    reasons = {
        3: "line 6, column 'b': expected a finite number, got 'x'",
        4: "line 7: 1 cells, but the header has 2: a, b",
    }
    reasons[5] = "line 8, column 'b': the cell is empty; fill it in"
    for k, reason in reasons.items():
        with pytest.raises(UsageError, match=f"t.csv, {reason}"):
            rows[k]
        with pytest.raises(UsageError, match=f"t.csv, {reason}"):
            rows[2:6][k - 2]


FIRST = np.arange(60) % 3 == 0  # which samples have the first class
KINDS = {  # what people have for classes: targets, and the names that their classes get
    "minus one and one": (np.where(FIRST, -1, 1), ["-1", "1"]),
    "from one": (np.where(FIRST, 1, 2), ["1", "2"]),
    "with a gap": (np.where(FIRST, 0.0, 2.0), ["0", "2"]),
    "a column": (np.where(FIRST, 0, 1)[:, None], None),
    "a column of floats": (np.where(FIRST, 0.0, 1.0)[:, None], None),
    "bool": (~FIRST, None),
    "uint8": (np.where(FIRST, 3, 4).astype(np.uint8), ["3", "4"]),
    "one class": (np.full(60, 7), ["7"]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["a.npz", "a.csv"])
def test_classes_of_any_numbers(tmp_path: Path, kind: str, name: str) -> None:
    targets, names = KINDS[kind]
    given = targets if name == "a.npz" else targets.reshape(60)
    path = save(tmp_path / name, {"inputs": ARRAYS["inputs"], "targets": given})
    data = ArrayDataModule(train=path)
    data.wanted = {"num_classes"}
    facts = data.facts()
    names = ["False", "True"] if kind == "bool" and name == "a.csv" else names
    assert (facts["num_classes"], facts.get("class_names")) == (len(np.unique(targets)), names)
    loaded: Any = load(path, num_classes=facts["num_classes"], class_names=facts.get("class_names")).splits["train"]
    assert loaded.targets.dtype == torch.int64
    assert loaded.targets.tolist() == np.unique(targets, return_inverse=True)[1].reshape(60).tolist()


def test_a_test_set_has_the_classes_of_train(tmp_path: Path) -> None:
    arrays = {"inputs": ARRAYS["inputs"], "targets": np.where(FIRST, -1, 1)}
    train = save(tmp_path / "a.npz", arrays)
    test = save(tmp_path / "b.npz", {"inputs": ARRAYS["inputs"], "targets": np.full(60, 1)})
    splits: Any = load(train, test=test, num_classes=2).splits
    assert splits["test"].targets.tolist() == [1] * 60
    wrong = save(tmp_path / "c.npz", {"inputs": ARRAYS["inputs"], "targets": np.full(60, 3)})
    with pytest.raises(ValueError, match=r"label '3' is none of the 2 classes|labels go from 3 to 3"):
        load(train, test=wrong, num_classes=2)


@pytest.mark.parametrize("name", ["a.npz", "a.csv"])
def test_another_class_of_a_validation_set_gets_no_number_of_train(tmp_path: Path, name: str) -> None:
    train, val = tmp_path / name, tmp_path / f"val_{name}"
    save(train, {"inputs": ARRAYS["inputs"], "targets": np.where(FIRST, 0, 1)})
    save(val, {"inputs": ARRAYS["inputs"], "targets": np.full(60, 2)})
    data = ArrayDataModule(train=str(train), val=str(val))
    data.wanted = {"num_classes"}
    data.num_classes = data.facts()["num_classes"]
    with pytest.raises(ValueError, match=r"data.num_classes is 2, but the labels go from 2 to 2"):
        data.setup("fit")


def test_columns_of_other_tables_are_taken_by_name(tmp_path: Path) -> None:
    header, rows = "b,a,targets", ["1,2,0", "3,4,1"]
    (tmp_path / "train.csv").write_text("\n".join([header, *rows]))
    (tmp_path / "val.csv").write_text("id,targets,a,b\n9,1,7,8\n9,0,5,6")
    train = str(tmp_path / "train.csv")
    splits: Any = load(train, val=str(tmp_path / "val.csv")).splits
    assert splits["val"].inputs.tolist() == [[8.0, 7.0], [6.0, 5.0]]
    (tmp_path / "val.csv").write_text("targets,a\n1,7")
    with pytest.raises(UsageError, match=r"val.csv: no column 'b', which .*train.csv has"):
        load(train, val=str(tmp_path / "val.csv"))
    (tmp_path / "val.csv").write_text("targets,a,b\nyes,7,8")
    with pytest.raises(UsageError, match=r"val.csv: targets such as 'yes' are texts, but those of .* are numbers"):
        load(train, val=str(tmp_path / "val.csv"))


def test_texts_are_classes_in_arrays_too_and_spaces_around_them_count_for_nothing(tmp_path: Path) -> None:
    texts = np.where(FIRST, "no", "yes ")
    assert load(save(tmp_path / "a.npz", {"inputs": ARRAYS["inputs"], "targets": texts})).class_counts == {
        "no": int(FIRST.sum()),
        "yes": int((~FIRST).sum()),
    }


@pytest.mark.parametrize("values", [RANDOM.random((60, 5)) * 1j, np.arange(60).astype("datetime64[D]")])
def test_arrays_of_no_real_numbers(tmp_path: Path, values: Any) -> None:
    with pytest.raises(UsageError, match=r"a.npz: the array 'inputs' must hold real numbers, got (complex|datetime)"):
        load(save(tmp_path / "a.npz", ARRAYS | {"inputs": values}))


@pytest.mark.parametrize("name", ["a.npz", "a.csv"])
def test_labels_in_columns(tmp_path: Path, name: str) -> None:
    labels = {"warm": FIRST.astype(float), "wet": 1.0 - FIRST}
    data = ArrayDataModule(train=save(tmp_path / name, {"inputs": ARRAYS["inputs"]} | labels), targets=["warm", "wet"])
    data.wanted = {"num_classes"}
    assert {key: data.facts()[key] for key in ("num_classes", "class_names")} == {
        "num_classes": 2,
        "class_names": ["warm", "wet"],
    }
    labels["wet"] = labels["wet"] * 2
    path = save(tmp_path / f"b{name}", {"inputs": ARRAYS["inputs"]} | labels)
    with pytest.raises(ValueError, match="labels in columns must be 0 or 1, or shares in between, got 2"):
        load(path, targets=["warm", "wet"], num_classes=2)
    with pytest.raises(ValueError, match=r"data.num_classes is 3, but there are 2 columns of labels"):
        load(path, targets=["warm", "wet"], num_classes=3)


def test_negative_numbers_are_no_classes_unless_classes_are_meant(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", {"inputs": ARRAYS["inputs"], "targets": np.where(FIRST, -5, 7)})
    assert "num_classes" not in ArrayDataModule(train=path).facts()
    assert load(path).class_counts == {}


@pytest.mark.parametrize("name", ["a.npz", "a.csv"])
def test_large_whole_numbers_are_classes_of_their_own(tmp_path: Path, name: str) -> None:
    dates = np.where(FIRST, 20_240_101.0, 20_240_102.0)  # one number in float32
    data = ArrayDataModule(train=save(tmp_path / name, {"inputs": ARRAYS["inputs"], "targets": dates}))
    data.wanted = {"num_classes"}
    assert data.facts()["class_names"] == ["20240101", "20240102"]


def test_a_list_of_texts_in_a_pt_file(tmp_path: Path) -> None:
    torch.save({"inputs": torch.ones(4, 2), "targets": ["b", "a", "b", "a"]}, tmp_path / "a.pt")
    assert load(str(tmp_path / "a.pt")).splits["train"].targets.tolist() == [1, 0, 1, 0]  # type: ignore[attr-defined]
