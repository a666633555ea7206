import tracemalloc
from pathlib import Path

import pytest
import torch

from trainworks.datamodules.datasets.array_dataset import unpack_name
from trainworks.datamodules.datasets.file_index import find_images, index_folders, pack_names, read_table


def test_names_of_any_letters_survive() -> None:
    names = ["a.jpg", "mit Leerzeichen/größe.jpg", "日本/写真.png", "x" * 300, os_name := "bad\udcff.jpg"]
    packed = pack_names(iter(names))
    assert packed.dtype == torch.uint8
    assert [unpack_name(row) for row in packed] == names
    assert unpack_name(packed[4]) == os_name


@pytest.mark.long
def test_a_million_names_take_their_bytes_and_no_more() -> None:
    names = (f"class{number % 1000:04}/{number:08}.jpg" for number in range(1_000_000))
    tracemalloc.start()
    packed = pack_names(names)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert packed.shape == (1_000_000, 22)
    assert peak < 3 * 22_000_000  # as Python strings they would be 80 MB


def test_images_are_found_in_order_and_other_files_are_not(tmp_path: Path) -> None:
    for name in ("b/2.JPG", "b/1.png", "a.tiff", "b/deep er/ü.webp", "b/notes.txt", ".hidden/x.jpg", "b/.y.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list(find_images(str(tmp_path))) == ["a.tiff", "b/1.png", "b/2.JPG", "b/deep er/ü.webp"]


def test_folders_of_unknown_classes_are_named(tmp_path: Path) -> None:
    (tmp_path / "val" / "cats").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"val/cats: no class of that name \(did you mean cat\?\); there are 2"):
        index_folders(str(tmp_path), "val", ["cat", "dog"])


def test_a_table_brings_everything(tmp_path: Path) -> None:
    rows = ["a b.jpg,cat,train,p1,1.5", "c.jpg,dog,val,p2,2", "ü.jpg,cat,train,p2,0"]
    (tmp_path / "t.csv").write_text("\ufeffpath,label,split,group,weight\n" + "\n".join(rows) + "\n", encoding="utf-8")
    splits = read_table(str(tmp_path / "t.csv"), None)
    assert set(splits) == {"train", "val"}
    train, val = splits["train"], splits["val"]
    assert [train.name(0), train.name(1), val.name(0)] == ["a b.jpg", "ü.jpg", "c.jpg"]
    assert (train.targets.tolist(), val.targets.tolist(), train.classes) == ([0, 0], [1], ["cat", "dog"])
    assert train.weights is not None and train.weights.tolist() == [1.5, 0.0]
    assert train.groups is not None and val.groups is not None
    assert train.groups[1] == val.groups[0] != train.groups[0]


@pytest.mark.parametrize(("labels", "order"), [("10 9 x b", "9 10 b x"), ("1 -1", "-1 1"), ("zoo bear", "bear zoo")])
def test_classes_are_sorted_numbers_first(tmp_path: Path, labels: str, order: str) -> None:
    rows = "".join(f"{k}.jpg,{label}\n" for k, label in enumerate(labels.split()))
    (tmp_path / "t.csv").write_text(f"path,label\n{rows}")
    index = read_table(str(tmp_path / "t.csv"), None)["all"]
    assert (index.classes, index.targets.tolist()) == (order.split(), [*map(order.split().index, labels.split())])


LABELS = "split,path,stripe,hash,note\ntrain,a.jpg,1,0,\nvalid,b.jpg,0.5,1,x\ntrain,c.jpg,True,False,\n"


def test_columns_of_labels_are_values_in_the_order_of_the_network(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(LABELS)
    splits = read_table(str(tmp_path / "t.csv"), None, ["stripe", "hash"])
    assert {name: index.targets.tolist() for name, index in splits.items()} == {
        "train": [[1, 0]] * 2,
        "val": [[0.5, 1]],
    }
    assert (splits["train"].targets.dtype, splits["val"].classes) == (torch.float32, ["stripe", "hash"])
    again = read_table(str(tmp_path / "t.csv"), ["hash", "stripe"], ["stripe", "hash"])  # names kept by a run
    assert (again["val"].targets.tolist(), again["val"].classes) == ([[1, 0.5]], ["hash", "stripe"])
    with pytest.raises(ValueError, match="line 2, column 'note': the cell is empty"):  # here it matters
        read_table(str(tmp_path / "t.csv"), None, "note")


@pytest.mark.parametrize(
    ("targets", "row", "message"),
    [
        (["a", "b"], "x.jpg,1,2", "t.csv, line 3, column 'b': expected a number from 0 to 1, got '2'"),
        (["a", "b"], "x.jpg,-1,1", "line 3, column 'a': expected a number from 0 to 1, got '-1'"),
        (["a", "b"], "x.jpg,yes,1", "line 3, column 'a': expected a number from 0 to 1, got 'yes'; write texts"),
        (["a", "b"], "x.jpg,,1", "line 3, column 'a': the cell is empty"),
        (
            ["a", "c"],
            "x.jpg,1,1",
            r"no column 'c'; its header is path, a, b; files are in a column path, classes in --data",
        ),
        (
            ["a", "path"],
            "x.jpg,1,1",
            r"targets must name a column of classes, or each of labels once, got",
        ),
        ([], "x.jpg,1,1", r"data.targets must name a column of classes, or each of labels once"),
        ("a", "0.jpg,1,1", "line 3: 0.jpg stands in line 2 already; write one row for each image, with a column for"),
    ],
)
def test_labels_that_are_none(tmp_path: Path, targets: list[str] | str, row: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(f"path,a,b\n0.jpg,0,1\n{row}\n")
    with pytest.raises(ValueError, match=message):
        read_table(str(tmp_path / "t.csv"), None, targets)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,label\na,b\n", r"t.csv: no column 'path'; its header is file, label"),
        ("path,lable\na,b\n", r"no column 'label' \(did you mean lable\?\)"),
        (
            "path,a,b\na,0,1\n",
            r"no column 'label'; its header is path, a, b; files are in a column path, classes in --data.targets NAME",
        ),
        ("", "no column 'path'; its header is nothing"),
        ("path,label\n", "the table has no rows"),
        ("path,label\na,b\nc,b\n", "at least two classes are needed, column 'label' has only 'b'"),
        ("path,label\na,b\nc\n", "line 3: 1 cells, but the header has 2: path, label"),
        ("path,label\na,b\nc,\n", "line 3, column 'label': the cell is empty; fill it in, or leave"),
        ("path,label,split\na,b,trian\nc,d,trian\n", "split 'trian' is none of train, val and test"),
        (
            "path,label,weight\na,b,heavy\n",
            "line 2, column 'weight': expected a number from 0 to inf, got 'heavy'",
        ),
        ("path,label,weight\na,b,-1\n", "line 2, column 'weight': expected a number from 0 to inf, got '-1'"),
        ("path,label,weight\na,b,inf\n", "line 2, column 'weight': expected a number from 0 to inf, got 'inf'"),
        ("path,label,weight\na,b,nan\n", "line 2, column 'weight': expected a number from 0 to inf, got 'nan'"),
    ],
)
def test_broken_tables_are_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_table(str(tmp_path / "t.csv"), None)


def test_labels_must_be_known_classes(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,label\na,cow\n")
    with pytest.raises(ValueError, match=r"label 'cow' is none of the 2 classes \(did you mean cows\?\)"):
        read_table(str(tmp_path / "t.csv"), ["cows", "dogs"])
    with pytest.raises(ValueError, match=r"gone.csv: cannot be read as a table"):
        read_table(str(tmp_path / "gone.csv"), None)
