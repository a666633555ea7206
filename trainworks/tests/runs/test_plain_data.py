"""What checkpoints may hold, how it comes back, and who trusts what else they hold."""

import pathlib
import re
import subprocess
import sys
from collections import Counter, OrderedDict, deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric.utilities.data import AttributeDict
from omegaconf import OmegaConf
from torch import nn
from torchvision.tv_tensors import Image as TVImage

import trainworks
from trainworks.errors import RunFailure
from trainworks.models import load_model
from trainworks.runs.files import trusting
from trainworks.runs.plain_data import UntrustedFile, read_plain, save_plain, to_plain
from trainworks.tests.conftest import ROOT, Train
from trainworks.tests.strangers import Child, Kind

LAST = "logs/plain/a/checkpoints/last.ckpt"
DATA = """
data: {class_path: trainworks.tests.strangers.OwnData}
trainer: {max_epochs: 1, accelerator: cpu, log_every_n_steps: 2}
callbacks: {figures: null, notes: null}
"""


@pytest.fixture
def run(train: Train, tmp_path: Path) -> Train:
    """Train a module of trainworks/tests/strangers.py in the run `a` of the experiment `plain`."""
    (tmp_path / "plain.yaml").write_text(DATA)
    base = ("fit", "--config", "plain.yaml", "--run_name", "a")
    return lambda model, *words: train(*base, "--model", f"trainworks.tests.strangers.{model}", *words)


def written(content: dict[str, Any], path: Path) -> Path:
    with path.open("w+b") as file:
        save_plain(to_plain(content), file)
    return path


VALUES: dict[str, tuple[Any, Any]] = {  # and what a plain torch.load makes of them
    "array": (np.arange(6, dtype=np.int16).reshape(2, 3), torch.arange(6, dtype=torch.int16).reshape(2, 3)),
    "no axis": (np.array(0.5), torch.tensor(0.5, dtype=torch.float64)),
    "empty": (np.zeros((2, 0), np.float32), torch.zeros(2, 0)),
    "unsigned": (np.array([2**63], np.uint64), torch.tensor([2**63], dtype=torch.uint64)),
    "texts": (np.array([["a", "bcd"]]), [["a", "bcd"]]),
    "float32": (np.float32(0.1), float(np.float32(0.1))),
    "float64": (np.float64(0.1), 0.1),
    "bool": (np.bool_(True), True),
    "text": (np.str_("a"), "a"),
    "path": (Path("a/b"), "a/b"),
    "deque": (deque([np.int8(1), (np.zeros(1), "a")], maxlen=3), [1, (torch.zeros(1, dtype=torch.float64), "a")]),
    "counts": (Counter("aab"), Counter("aab")),
    "large": (2**100, 2**100),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_come_back_as_they_were(tmp_path: Path, name: str) -> None:
    given, plain = VALUES[name]
    file = written({"own": {"value": [None, given]}}, tmp_path / "x.ckpt")
    for value, found in ((plain, torch.load(file, weights_only=True)), (given, read_plain(file))):
        result = found["own"]["value"][1]
        assert type(result) is (type(value) if not isinstance(value, pathlib.Path) else type(Path()))
        torch.testing.assert_close(result, value, rtol=0, atol=0) if torch.is_tensor(value) else None
        if isinstance(value, np.ndarray):
            assert (result.dtype, result.shape, result.tolist()) == (value.dtype, value.shape, value.tolist())
        elif not torch.is_tensor(value):
            assert result == value and repr(result) == repr(value)
    assert "python_types" not in read_plain(file)


def test_containers_keep_their_order_and_their_versions(tmp_path: Path) -> None:
    state = nn.BatchNorm1d(2).state_dict()
    given = {"state_dict": state, "own": AttributeDict({np.int64(3): OrderedDict(b=np.ones(1), a=1)})}
    found = read_plain(written(given, tmp_path / "x.ckpt"))
    assert found["state_dict"]._metadata == state._metadata  # type: ignore[attr-defined]
    assert type(found["own"]) is dict and [type(key) for key in found["own"]] == [int]
    assert list(found["own"][3]) == ["b", "a"] and isinstance(found["own"][3]["b"], np.ndarray)
    assert type(given["own"]) is AttributeDict and type(given["own"][3]["b"]) is np.ndarray  # the training goes on


@pytest.mark.parametrize(
    "value",
    [
        Kind.FIRST,
        np.array([Kind.FIRST], dtype=object),
        lambda: 1,
        np.datetime64("2020-01-01"),
        {Kind.FIRST: 1},
        TVImage(torch.zeros(1, 2, 2)),
    ],
)
def test_objects_are_refused_by_where_they_stand(value: Any) -> None:
    with pytest.raises(RunFailure, match=r"^'own\.values\.1[^']*' in the checkpoint holds .*or type --trust true"):
        to_plain({"own": {"values": [0, value]}})


def test_of_the_hyperparameters_what_is_plain_is_kept() -> None:
    given = {"a": 1, "b": np.float32(2), "kinds": [Kind.FIRST], "net": nn.Linear(1, 1), "f": lambda: 1}
    assert to_plain({"hyper_parameters": given})["hyper_parameters"] == {"a": 1, "b": 2.0}
    config = OmegaConf.create({"lr": 0.1, "net": {"width": 3}})
    found = to_plain({"hyper_parameters": config, "hparams_type": type(config), "hparams_name": "cfg"})
    assert found == {"hyper_parameters": {"lr": 0.1}, "hparams_name": "cfg"}
    with trusting(True):
        assert to_plain({"hyper_parameters": given})["hyper_parameters"].keys() == {"a", "b", "kinds", "net"}
        with pytest.raises(RunFailure, match=r"'f' in the checkpoint holds .*lists and dictionaries$"):
            to_plain({"f": lambda: 1})


@pytest.mark.filterwarnings("ignore:Attribute 'norm' is an instance of `nn.Module`")  # said to the user
def test_what_numpy_holds_comes_back_when_a_run_goes_on(run: Train, train: Train) -> None:
    own = (
        "--callbacks.own",
        "trainworks.tests.strangers.CountsNumpy",
        "--data",
        "trainworks.tests.strangers.KeepsData",
    )
    result = run("KeepsNumpy", *own)
    assert (result.code, result.out.count("checkpoints leave out norm of hyper_parameters")) == (0, 1), result.err
    saved = torch.load(LAST, weights_only=True)
    assert saved["hyper_parameters"] == {"rate": 0.5, "folder": "a/b"}
    assert saved["callbacks"]["CountsNumpy"]["counts"].tolist() == [6, 0]
    assert type(saved["own"]["losses"][0]) is float
    result = train("--resume", "logs/plain/a", "--trainer.max_epochs", "2")
    assert (result.code, "continues from" in result.out) == (0, True), result.err
    assert torch.load(LAST, weights_only=True)["callbacks"]["CountsNumpy"]["counts"].tolist() == [12, 0]
    assert type(load_model(LAST)).__name__ == "KeepsNumpy"


@pytest.mark.parametrize(
    ("where", "path"), [("hook", "kinds.0"), ("optimizer", "optimizer_states"), ("scheduler", "lr"), ("late", "lr")]
)
def test_a_checkpoint_that_could_not_be_read_is_never_begun(run: Train, where: str, path: str) -> None:
    result = run("KeepsObjects", "--model.where", where)
    assert (result.code, "Traceback" in result.err) == (2, False)
    assert re.search(rf"error: '{path}\S*' in the checkpoint holds trainworks\S+Kind, which could not", result.err)
    assert not Path("logs/plain/a/checkpoints").exists()


def test_trust_is_typed_anew_for_each_command(run: Train, train: Train, tmp_path: Path) -> None:
    trust = ("--trust", "true")
    assert run("KeepsObjects", "--trust", "yes").err == "error: --trust must be true or false, got yes\n"
    result = run("KeepsObjects", *trust)
    assert (result.code, result.err) == (0, "")
    for words in (("validate", "--ckpt_path", LAST), ("--resume", "logs/plain/a", "--trainer.max_epochs", "2")):
        refused, done = train(*words), train(*words, *trust)
        assert refused.code == 2 and done.code == 0, done.err
        assert "holds trainworks.tests.strangers.Kind, which could run code; none was run" in refused.err
        assert "passed over" not in refused.out
    with pytest.raises(UntrustedFile, match=r"load_model\(path, trust=True\)"):
        load_model(LAST)
    assert type(load_model(LAST, trust=True)).__name__ == "KeepsObjects"
    described = {"model": "trainworks.tests.strangers.KeepsObjects"}
    with pytest.raises(trainworks.UsageError, match="type --trust true"):
        trainworks.train("plain.yaml", described)
    trusted = trainworks.train("plain.yaml", described | {"trust": True}, run_name="c")
    assert type(trusted.model).__name__ == "KeepsObjects"
    validated = trainworks.evaluate(trusted.run_directory / "checkpoints/last.ckpt", {"trust": True}, "validate")
    assert set(validated.metrics) == {"valid_loss", "valid_acc"}
    weights = ("--callbacks.init_from", "trainworks.callbacks.InitFrom", "--callbacks.init_from.path", LAST)
    result = run("KeepsObjects", *weights, *trust, "--run_name", "b")  # which may come from anywhere
    assert (result.code, "keep its weights alone" in result.err) == (2, True)


def test_trainings_of_a_series_are_trusted_as_it_is(train: Train, run: Train) -> None:
    words = ("--config", "plain.yaml", "--model", "trainworks.tests.strangers.KeepsObjects", "--num_seeds", "2")
    assert train("repeat", *words).code == 2
    assert train("repeat", *words, "--trust", "true", "--run_name", "b").code == 0


def test_no_file_grants_trust(run: Train, train: Train, tmp_path: Path) -> None:
    assert run("KeepsObjects", "--trust", "true").code == 0
    inner = {"class_path": "trainworks.models.load_model", "init_args": {"path": LAST, "trust": True}}
    model = {"class_path": "trainworks.tests.strangers.HydraStyleChanged"}
    model["init_args"] = {"net": inner, "optimizer": "torch.optim.Adam"}  # type: ignore[assignment]
    torch.save({"module": model, "state_dict": {}}, "x.ckpt")
    with pytest.raises(ValueError, match="no file can grant trust; type --trust true"):
        load_model("x.ckpt")
    (tmp_path / "plain.yaml").write_text(f"{DATA}\nmodel: {model}\n")
    result = train("fit", "--config", "plain.yaml", "--run_name", "b")
    assert (result.code, "no file can grant trust" in result.err) == (2, True)
    assert result.err.count("\n") == 1


ALLOWS = """
import enum, torch
from trainworks.tests.strangers import Tested

class Mode(enum.Enum):
    FIRST = 1

torch.serialization.add_safe_globals([Mode])

class Allows(Tested):
    def on_save_checkpoint(self, checkpoint):
        checkpoint["mode"] = Mode.FIRST
"""


def test_types_that_the_modules_own_file_allows_are_read(tmp_path: Path) -> None:
    (tmp_path / "plain.yaml").write_text(DATA)
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/allows.py").write_text(ALLOWS)

    def process(*words: str, path: str) -> subprocess.CompletedProcess[str]:
        command, own = [sys.executable, *words], {"PYTHONPATH": f"{ROOT}:{path}"}
        return subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True)

    words = ("fit", "--config", "plain.yaml", "--run_name", "a", "--model", "allows.Allows")
    done = process(str(ROOT / "train.py"), *words, path="modules")
    assert done.returncode == 0, done.stderr
    load = f"from trainworks import load_model; print(type(load_model({LAST!r})).__name__)"
    done = process("-c", load, path="modules")
    assert (done.returncode, done.stdout) == (0, "Allows\n"), done.stderr
    assert "holds allows.Mode, which could run code; none was run" in process("-c", load, path="").stderr


def test_modules_that_a_function_made_or_that_keep_a_part_are_loaded(run: Train) -> None:
    assert run("child", "--model.width", "6").code == 0
    module: Any = load_model(LAST)
    assert type(module) is Child and module.hparams["width"] == 7
    assert run("FrozenBackbone", "--run_name", "b").code == 0
    found = load_model("logs/plain/b/checkpoints/last.ckpt").state_dict()
    saved = torch.load("logs/plain/b/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert found.keys() == saved.keys() and all(torch.equal(value, saved[name]) for name, value in found.items())
    assert run("MadeInSetup", "--run_name", "c").code == 0
    with pytest.raises(ValueError, match=r"MadeInSetup makes layer.0.bias, layer.0.weight in setup.*configure_model"):
        load_model("logs/plain/c/checkpoints/last.ckpt")


def test_each_constructor_saves_what_it_would_alone(run: Train) -> None:
    result = run("Child", "--model.width", "6")
    assert (result.code, result.err) == (0, "")
    expected = {"width": 6, "hidden": 12, "act": "relu"}
    saved = torch.load(LAST, weights_only=True)["hyper_parameters"]
    assert {name: value for name, value in saved.items() if not name.startswith("_")} == expected
    for module in (load_model(LAST), Child.load_from_checkpoint(LAST)):
        assert dict(module.hparams) == expected == dict(Child(6).hparams)
        assert dict(module.inner.hparams) == {"hidden": 5, "act": "relu"}  # type: ignore[union-attr, arg-type]


def test_a_count_is_not_added_to(tmp_path: Path) -> None:
    """MultiStepLR keeps its milestones so."""
    content = {"milestones": Counter([2, 2, 3]), "number": np.float32(1)}
    with (tmp_path / "a.ckpt").open("w+b") as file:
        save_plain(to_plain(content), file)
    assert read_plain(tmp_path / "a.ckpt")["milestones"] == Counter([2, 2, 3])
