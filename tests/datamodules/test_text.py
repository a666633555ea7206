from pathlib import Path

import pytest
import torch

from src.datamodules.text import TextDataModule
from trainworks import UsageError

TEXT = bytes(range(256)) * 4


def splits(**arguments: object) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    data = TextDataModule(**arguments)  # type: ignore[arg-type]
    data.setup("fit")
    return {name: split[:] for name, split in data.splits.items()}  # type: ignore[index]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_bytes(TEXT)
    return str(tmp_path / "text.txt")


def test_parts_follow_each_other_and_share_no_byte(path: str) -> None:
    parts = splits(path=path, length=8, stride=8, val_fraction=0.2, test_fraction=0.25)
    joined = {name: bytes(inputs.flatten().tolist()) for name, (inputs, _) in parts.items()}
    # the last target is no input; what is left at an end is too short for one more sample
    assert joined == {"train": TEXT[:608], "val": TEXT[614 : 614 + 152], "test": TEXT[768 : 768 + 248]}


def test_targets_are_one_byte_further_on_and_training_samples_overlap(path: str) -> None:
    parts = splits(path=path, length=8, stride=3)
    inputs, targets = parts["train"]
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    assert inputs[:3, 0].tolist() == [0, 3, 6]
    assert parts["val"][0][1, 0] - parts["val"][0][0, 0] == 8


def test_a_file_is_mapped_and_never_copied(path: str) -> None:
    data = TextDataModule(path=path, length=8, stride=1)
    data.setup("fit")
    storages = {name: split.inputs.untyped_storage() for name, split in data.splits.items()}  # type: ignore[attr-defined]
    assert {storage.nbytes() for storage in storages.values()} == {len(TEXT)}
    assert len({storage.data_ptr() for storage in storages.values()}) == 1
    batch = data.splits["train"].__getitems__([5, 700])  # type: ignore[attr-defined]
    assert bytes(batch[0][1].tolist()) == TEXT[700:708]
    assert Path(path).read_bytes() == TEXT


def test_files_of_their_own_validate_test_and_predict(path: str, tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_bytes(b"b" * 30)
    other = str(tmp_path / "b.txt")
    parts = splits(path=path, test_path=other, predict_path=other, length=8, stride=8, val_fraction=0.5)
    counts = {name: len(inputs) for name, (inputs, _) in parts.items()}
    assert counts == {"train": 63, "val": 63, "test": 3, "predict": 3}
    assert set(splits(path=path, val_path=other, length=8)) == {"train", "val"}


def test_the_text_inside_python_holds_no_paragraph_twice() -> None:
    parts = splits()
    train, test = (
        bytes(torch.cat([i[:, :1], t], dim=1).flatten().tolist()) for i, t in (parts["train"], parts["test"])
    )
    assert len(train) > 200_000 and len(test) > 20_000
    assert len(test.split(b"\n\n")) > 50
    assert set(test.split(b"\n\n")) & set(train.split(b"\n\n")) <= {b""}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": "txet.txt"}, r"txet.txt: no such file \(did you mean text.txt\?\)"),
        ({"path": "empty.txt"}, "empty.txt: the file is empty"),
        ({"path": "text.txt", "length": 200}, "the test text has 102 bytes, too few for samples of data.length 200"),
        ({"length": 0}, "data.length must be at least 1, got 0"),
        ({"stride": 0}, "data.stride must be at least 1, got 0"),
    ],
)
def test_refused(path: str, arguments: dict[str, object], message: str) -> None:
    Path("empty.txt").touch()
    with pytest.raises((ValueError, UsageError), match=message):
        splits(**arguments)
