import re
from pathlib import Path

import pytest

from trainworks.cli.config import apply_overrides, merge, resolve
from trainworks.errors import UsageError
from trainworks.runs.yaml_files import Config, load_file

NET = {"net": {"class_path": "a.Net", "init_args": {"width": 3}}}


@pytest.mark.parametrize(
    ("base", "update", "expected"),
    [
        ({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}}, {"a": {"x": 1, "y": 3}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": [1, 2]}, {"a+": [3]}, {"a": [1, 2, 3]}),
        ({"a": None}, {"a+": 3}, {"a": [3]}),
        ({}, {"a": {"b+": [1]}}, {"a": {"b": [1]}}),
        ({"a": {"x": 1}}, {"a": None}, {"a": None}),
        (
            NET,
            {"net": {"init_args": {"depth": 4}}},
            {"net": {"class_path": "a.Net", "init_args": {"width": 3, "depth": 4}}},
        ),
        (NET, {"net": {"class_path": "b.Net"}}, {"net": {"class_path": "b.Net"}}),
        (
            {"net": "a.Net"},
            {"net": {"init_args": {"width": 1}}},
            {"net": {"class_path": "a.Net", "init_args": {"width": 1}}},
        ),
    ],
)
def test_merge(base: Config, update: Config, expected: Config) -> None:
    before = repr(base)
    assert merge(base, update) == expected
    assert repr(base) == before


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([("net.init_args.width", "4")], {"net": {"class_path": "a.Net", "init_args": {"width": "4"}}}),
        ([("net.width", "4")], {"net": {"class_path": "a.Net", "init_args": {"width": "4"}}}),
        ([("net.depth", "1"), ("net", "b.Net")], {"net": {"class_path": "b.Net", "init_args": {"depth": "1"}}}),
        ([("net.class_path", "b.Net")], {"net": {"class_path": "b.Net"}}),
        ([("net", "a.Net")], NET),
        ([("net", "null")], {"net": "null"}),
        ([("net.width", "1"), ("net.width", "2")], {"net": {"class_path": "a.Net", "init_args": {"width": "2"}}}),
        ([("list+", "x.Y"), ("list.z", "3")], NET | {"list": [{"class_path": "x.Y", "init_args": {"z": "3"}}]}),
        ([("new.key", "1")], NET | {"new": {"key": "1"}}),
    ],
)
def test_overrides_reach_the_right_place(overrides: list[tuple[str, str]], expected: Config) -> None:
    assert apply_overrides(NET, overrides) == expected
    assert NET == {"net": {"class_path": "a.Net", "init_args": {"width": 3}}}


def test_the_trainer_has_short_names_too() -> None:
    trainer = {"trainer": {"strategy": {"class_path": "a.Strategy", "init_args": {"n": 1}}}}
    assert apply_overrides(trainer, [("trainer.strategy", "ddp")]) == {"trainer": {"strategy": "ddp"}}
    changed = apply_overrides(trainer, [("trainer.strategy", "b.Strategy")])
    assert changed == {"trainer": {"strategy": {"class_path": "b.Strategy"}}}


def test_override_picks_from_a_list_by_number() -> None:
    config = {"list": [{"class_path": "a.A", "init_args": {"p": 1}}, {"class_path": "a.B"}]}
    assert apply_overrides(config, [("list.0.p", "2")])["list"][0]["init_args"] == {"p": "2"}
    bare = {"list": ["a.A", "a.B"]}  # class paths without arguments
    assert apply_overrides(bare, [("list.0.p", "2")])["list"][0] == {"class_path": "a.A", "init_args": {"p": "2"}}
    with pytest.raises(UsageError, match="'2' picks none of the list's 2 elements"):
        apply_overrides(config, [("list.2.p", "2")])


def test_references_follow_the_merged_values() -> None:
    config = {"data": {"n": 10}, "a": "${data.n}", "b": [{"c": "${a}"}]}
    assert resolve(apply_overrides(config, [("data.n", "7")])) == {"data": {"n": "7"}, "a": "7", "b": [{"c": "7"}]}
    with pytest.raises(UsageError, match=r"b.c refers to data.m, which is not set"):
        resolve({"data": {}, "b": {"c": "${data.m}"}})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1, 2\nb: 3\n", "line 2: broken YAML"),
        (b"a: 1\nb: 2\na: 3\n", "line 3: broken YAML: found duplicate key a"),
        (b"", "empty file"),
        (b"- 1\n- 2\n", "not a mapping"),
        (b"\xff\xfe\x00", "cannot be read as YAML"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message) as caught:
        load_file(str(path))
    assert "broken.yaml" in str(caught.value)


def test_a_missing_file_suggests_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "digits.yaml").write_text("a: 1")
    with pytest.raises(UsageError, match=re.escape(f"no such file (did you mean {tmp_path / 'digits.yaml'}?)")):
        load_file(str(tmp_path / "digit.yaml"))


def test_numbers_such_as_1e_3_are_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("lr: 1e-3")
    assert load_file(str(tmp_path / "a.yaml")) == {"lr": 0.001}
