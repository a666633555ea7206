import argparse
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import get_weight, squeezenet1_1

from trainworks.errors import UsageError
from trainworks.models.changes import with_channels
from trainworks.runs.weights import load_weights, read_weights
from trainworks.tests.conftest import ROOT
from trainworks.tests.examples.networks import SmallCNN


def make_net(seed: int, num_classes: int = 3) -> SmallCNN:
    torch.manual_seed(seed)
    return SmallCNN(1, num_classes, [4, "M", 8])


def same(net: nn.Module, other: nn.Module, names: list[str] | None = None) -> bool:
    one, two = net.state_dict(), other.state_dict()
    return all(torch.equal(one[name], two[name]) for name in names or one)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "net.", "model.", "a.b."])
@pytest.mark.parametrize("key", [None, "state_dict", "model_state_dict", "model"])
def test_a_state_dict_in_all_its_forms(tmp_path: Path, prefix: str, key: str | None) -> None:
    source, net = make_net(0), make_net(1)
    weights: dict[str, Any] = {prefix + name: value for name, value in source.state_dict().items()}
    weights |= {"epoch": 3} if key is None else {}
    torch.save(weights if key is None else {"epoch": 3, key: weights}, tmp_path / "w.pth")
    lines = load_weights(net, str(tmp_path / "w.pth"))
    assert same(net, source)
    left_off = prefix.replace("_orig_mod.", "")
    assert lines[0].startswith(f"weights: 14 of 14 tensors of SmallCNN from {tmp_path / 'w.pth'}")
    assert lines[0].endswith(f", without '{left_off}'") == bool(left_off)
    assert len(lines) == 1


def test_a_state_dict_under_any_name(tmp_path: Path) -> None:
    source, teacher, net = make_net(0), make_net(2), make_net(1)
    torch.save({"epoch": 3, "net": source.state_dict(), "optimizer": {"state": {}}}, tmp_path / "w.pt")
    assert load_weights(net, str(tmp_path / "w.pt"))[0].endswith("w.pt, without 'net.'")
    assert same(net, source)
    torch.save({"student": source.state_dict(), "teacher": teacher.state_dict()}, tmp_path / "two.pt")
    load_weights(net, str(tmp_path / "two.pt"), "teacher")
    assert same(net, teacher)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated")  # torch 2.11's compiler warns of itself
def test_a_compiled_network_takes_them_too(tmp_path: Path) -> None:
    source, net = make_net(0), make_net(1)
    torch.save(source.state_dict(), tmp_path / "w.pt")
    load_weights(torch.compile(net), str(tmp_path / "w.pt"))  # type: ignore[arg-type]
    assert same(net, source)


def test_half_precision_becomes_that_of_the_network(tmp_path: Path) -> None:
    source, net = make_net(0), make_net(1)
    torch.save(source.half().state_dict(), tmp_path / "w.pt")
    load_weights(net, str(tmp_path / "w.pt"))
    assert net.head.weight.dtype == torch.float32
    assert same(net, source.float())


def test_safetensors(tmp_path: Path) -> None:
    save_file = pytest.importorskip("safetensors.torch").save_file
    source, net = make_net(0), make_net(1)
    save_file({f"module.{name}": value for name, value in source.state_dict().items()}, tmp_path / "w.safetensors")
    load_weights(net, str(tmp_path / "w.safetensors"))
    assert same(net, source)
    (tmp_path / "w.safetensors").write_bytes(b"\x10")
    with pytest.raises(UsageError, match=r"w.safetensors: truncated, damaged or no file of weights: "):
        read_weights(str(tmp_path / "w.safetensors"))


def test_safetensors_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "w.safetensors").touch()
    monkeypatch.setitem(__import__("sys").modules, "safetensors.torch", None)
    with pytest.raises(UsageError, match=r"needs the package safetensors; write pip install safetensors"):
        read_weights(str(tmp_path / "w.safetensors"))


def test_a_head_for_other_classes_stays_new_and_nothing_is_silent(tmp_path: Path) -> None:
    source, net = make_net(0, num_classes=5), make_net(1)
    head = net.head.weight.clone()
    weights = {f"net.{name}": value for name, value in source.state_dict().items() if "features.2." not in name}
    torch.save(weights | {"loss.weight": torch.ones(5)}, tmp_path / "w.pt")
    lines = load_weights(net, str(tmp_path / "w.pt"))
    assert same(net, source, ["features.0.weight", "features.5.running_mean"])
    assert torch.equal(net.head.weight, head)
    assert lines == [
        f"weights: 7 of 14 tensors of SmallCNN from {tmp_path / 'w.pt'}, without 'net.'",
        "  2 left new, of another shape: head.weight 5x8 -> 3x8, head.bias 5 -> 3",
        "  5 left new, not in the file: features.2.weight, features.2.bias, features.2.running_mean, "
        "features.2.running_var and 1 more",
        "  1 in the file, not used: loss.weight",
    ]


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 7])
def test_weights_of_colour_for_other_channels(tmp_path: Path, channels: int) -> None:
    torch.save(SmallCNN(3, 3, [4, "M", 8]).state_dict(), tmp_path / "w.pt")
    weight = torch.load(tmp_path / "w.pt", weights_only=True)["features.0.weight"]
    net = with_channels(SmallCNN(3, 3, [4, "M", 8]), channels)
    lines = load_weights(net, str(tmp_path / "w.pt"))
    assert lines[0].startswith("weights: 14 of 14 tensors of SmallCNN")
    assert lines[1:] == ([] if channels == 3 else ["  1 for other channels: features.0.weight"])
    found, grey = net.features[0], torch.rand(2, 1, 8, 8)
    assert (found.weight.shape, found.in_channels) == ((4, channels, 3, 3), channels)
    if channels > 1:
        assert torch.allclose(found.weight[:, 0], weight[:, 0] * 3 / channels)
    if channels in (1, 3):  # a grey image gives what it gave in colour
        expected = nn.functional.conv2d(grey.expand(-1, 3, -1, -1), weight, found.bias, padding=1)
        assert torch.allclose(found(grey.expand(-1, channels, -1, -1)), expected, atol=1e-5)


def test_a_network_of_other_channels_is_not_changed() -> None:
    for net in (SmallCNN(5, 3, [4, "M", 8]), nn.Linear(3, 2)):
        with pytest.raises(ValueError, match=rf"{type(net).__name__} must begin with a Conv2d of 3 channels, got"):
            with_channels(net, 4)


def test_a_part_of_the_network(tmp_path: Path) -> None:
    source = make_net(0)
    whole = nn.ModuleDict({"backbone": make_net(1), "other": nn.Linear(2, 2)})
    torch.save(source.state_dict(), tmp_path / "w.pt")
    lines = load_weights(whole, str(tmp_path / "w.pt"))
    assert same(whole["backbone"], source)
    assert lines[0].endswith("w.pt, as 'backbone.'")
    assert lines[1] == "  2 left new, not in the file: other.weight, other.bias"


def test_nothing_fits(tmp_path: Path) -> None:
    net = make_net(1)
    content = {"layers.0.weight": torch.ones(2, 3), "head.weight": torch.ones(9)}
    torch.save(content | {"a.features.2.num_batches_tracked": torch.tensor(3)}, tmp_path / "w.pt")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    expected = (
        r"w.pt: none of its 3 tensors fits SmallCNN; the file has layers.0.weight 2x3, head.weight 9, .* scalar; "
        r"the network has features.0.weight 4x1x3x3, features.2.weight 4, .* and 10 more"
    )
    with pytest.raises(UsageError, match=expected):
        load_weights(net, str(tmp_path / "w.pt"))
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_an_encoder_into_a_network_that_calls_it_otherwise(tmp_path: Path) -> None:
    """The step from self-supervised training to a probe: both sides have a prefix, and a head of their own."""
    file, source = str(tmp_path / "w.pt"), make_net(0)
    torch.save(nn.ModuleDict({"encoder": source, "projector": nn.Linear(3, 5)}).state_dict(), file)
    probe = nn.ModuleDict({"backbone": make_net(1), "fc": nn.Linear(3, 2)})
    lines = load_weights(probe, file)
    assert same(probe["backbone"], source)
    assert lines == [
        f"weights: 14 of 16 tensors of ModuleDict from {file}, 'encoder.' as 'backbone.'",
        "  2 left new, not in the file: fc.weight, fc.bias",
        "  2 in the file, not used: projector.weight, projector.bias",
    ]
    two = nn.ModuleDict({"student": make_net(1), "teacher": make_net(2)})
    message = r"w.pt: none of its 16 .*prefix some do: encoder as student, encoder as teacher; the file has"
    with pytest.raises(UsageError, match=message):
        load_weights(two, file)
    lines = load_weights(two, file, "encoder", "teacher.")
    assert same(two["teacher"], source) and not same(two["student"], source)
    assert lines[0].endswith("w.pt, 'encoder.' as 'teacher.'")
    with pytest.raises(
        UsageError, match=r"no name of .*w.pt begins with 'encodr.'; they begin with encoder, projector"
    ):
        load_weights(two, file, "encodr", "teacher")
    with pytest.raises(UsageError, match=r"no name of the network begins with 'x.'; they begin with student, teacher"):
        load_weights(two, file, "encoder", "x")
    alone = make_net(3)
    load_weights(alone, file, "encoder")
    assert same(alone, source)


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch ran",)


def test_a_file_that_would_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": make_net(0).state_dict(), "extra": Payload()}, "w.pt")
    with pytest.raises(
        UsageError, match=r"w.pt holds more than tensors and plain data \(\w+.system\), .*; none was run"
    ):
        read_weights("w.pt")
    assert not Path("ran").exists()


@pytest.mark.parametrize("kind", ["module", "state_dict", "model", "model_state_dict", "bare"])
def test_the_command_of_the_message_keeps_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    source: Any = make_net(0)
    content = source if kind == "model" else source.state_dict()
    others = {"epoch": 3, "arguments": argparse.Namespace(lr=0.1)}
    content = others | (content if kind == "bare" else {kind: content})
    torch.save(source if kind == "module" else content, "old file.pt")
    with pytest.raises(UsageError, match=r"old file.pt holds more than tensors .*; none was run") as caught:
        read_weights("old file.pt")
    (command,) = re.findall(r'keep its weights alone: (python -c ".*")$', str(caught.value))
    words = [sys.executable, *shlex.split(command)[1:]]
    subprocess.run(words, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    net = make_net(1)
    load_weights(net, "weights.pt")
    assert same(net, source)


def test_files_that_hold_no_weights(tmp_path: Path) -> None:
    torch.save(make_net(0).state_dict(), tmp_path / "weights.pt")
    content = (tmp_path / "weights.pt").read_bytes()
    damaged = r"truncated, damaged or no file of weights: ."
    for name, data in (
        ("cut.pt", content[:-500]),
        ("empty.pt", b""),
        ("text.pth", b"hello"),
        ("x.ckpt", content[500:]),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UsageError, match=rf"{name}: {damaged}"):
            read_weights(str(tmp_path / name))
    for value in ([torch.ones(2)], {"state_dict": {}}, {"lr": 0.1}):
        torch.save(value, tmp_path / "other.pt")
        with pytest.raises(UsageError, match=r"other.pt: holds no tensors by name"):
            read_weights(str(tmp_path / "other.pt"))
    with pytest.raises(UsageError, match=r"weight.pt: no such file \(did you mean weights.pt\?\); write a file"):
        read_weights(str(tmp_path / "weight.pt"))
    with pytest.raises(UsageError, match=r": a folder.*; write a file of weights"):
        read_weights(str(tmp_path))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A web server on this machine, of the folder `site`; torch.hub keeps what it downloads in the folder `hub`."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "site"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_url_is_downloaded_once(tmp_path: Path, site: str) -> None:
    sources = [make_net(0), make_net(2)]
    for folder, source in zip("ab", sources, strict=True):
        (tmp_path / "site" / folder).mkdir(parents=True)
        torch.save(source.state_dict(), tmp_path / "site" / folder / "model.pth")
    for _ in range(2):  # the second time they are gone
        for folder, source in zip("ab", sources, strict=True):
            net = make_net(1)
            load_weights(net, f"{site}/{folder}/model.pth?download=1")
            assert same(net, source)
            (tmp_path / "site" / folder / "model.pth").unlink(missing_ok=True)
    with pytest.raises(UsageError, match=r"c.pth: cannot be downloaded: HTTP Error 404"):
        load_weights(make_net(1), f"{site}/c.pth")
    assert len(list((tmp_path / "hub").rglob("*.*"))) == 2


def test_torchvisions_weights_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    name = Path(get_weight("SqueezeNet1_1_Weights.DEFAULT").url).name
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    source, net = squeezenet1_1(), squeezenet1_1(num_classes=4)
    torch.save(source.state_dict(), tmp_path / "hub/checkpoints" / name)
    lines = load_weights(net, "SqueezeNet1_1_Weights.DEFAULT")
    assert torch.equal(net.features[0].weight, source.features[0].weight)
    assert lines[1].startswith("  2 left new, of another shape: classifier.1.weight 1000x512x1x1 -> 4x512x1x1")
    for wrong in ("SqueezeNet1_1_Weights.LATEST", "SqueezNet_Weights.DEFAULT"):
        with pytest.raises(UsageError, match=rf"torchvision has no weights '{wrong}'; write a name such as ResNet18_W"):
            load_weights(net, wrong)
