"""export: a file that answers alone, and the same."""

import csv
import importlib.util
import json
import re
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
import venv
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

from trainworks.models import load_model
from trainworks.tests.conftest import CONFIGS, PLAIN, QUICK, ROOT, Train, write_images

KINDS = "trainworks.tests.strangers"
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
SHORT = {
    "segmentation": ("--data.num_train", "8", "--data.num_val", "4", "--model.net.widths", "[4, 8]"),
    "detection": ("--data.num_train", "8", "--data.num_val", "4"),
    "gpt": ("--model.net.width", "8", "--model.net.num_layers", "1"),
    "gan": ("--data.batch_size", "16"),
}


def fit(train: Train, task: str, *words: str) -> Path:
    config = str(CONFIGS / f"{task}.yaml")
    short = (*QUICK, "--trainer.limit_val_batches", "1", *SHORT.get(task, ()), *words)
    result = train("fit", "--config", config, *short, "--run_name", "a")
    assert result.code == 0, result.err
    folder = Path("logs", task, "a", "checkpoints")
    return folder / ("best.ckpt" if (folder / "best.ckpt").exists() else "last.ckpt")


def environment(folder: Path, *packages: str) -> str:
    """Make a virtual environment of these packages and what they need, by links, and return its Python."""
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/*/site-packages")
    left, done = list(packages), set[str]()
    while left:
        if (name := canonicalize_name(left.pop())) in done:
            continue
        done.add(name)
        found = metadata.distribution(name)
        left += [
            need.name for need in map(Requirement, found.requires or ()) if not need.marker or need.marker.evaluate()
        ]
        for top in {Path(file).parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            (site / top).exists() or (site / top).symlink_to(found.locate_file(top))
    return str(folder / "bin/python")


@pytest.mark.long
@pytest.mark.parametrize("task", ["digits", "multilabel", "diabetes", "segmentation", "gpt", "vae", "gan"])
def test_each_task_exports(train: Train, task: str) -> None:
    path = fit(train, task)
    result = train("export", "--ckpt_path", str(path), "--format", "all", "--latency", "false")
    assert (result.code, result.err) == (0, ""), result.err
    with path.with_name(f"{path.stem}_export.csv").open(newline="") as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    metrics = {key for row in rows.values() for key in row} - {"file", "format", "precision", "MB", "difference"}
    files = [f"{path.stem}.onnx", f"{path.stem}_float16.onnx", f"{path.stem}_int8.onnx", f"{path.stem}.pt2"]
    if task not in ("vae", "gan"):
        assert [*rows] == ["module", *files] and metrics
        assert all(rows[name][key] for key in metrics for name in rows)
        sizes = [path.with_name(name).stat().st_size for name in files]
        assert [float(rows[name]["MB"]) for name in files] == [size / 1e6 for size in sizes]
    else:
        assert [*rows] == [files[0], files[3]] and "no metrics, and so neither float16 nor int8" in result.out
    assert all(float(rows[name]["difference"]) < 1e-4 for name in (files[0], files[3]))
    count = {"diabetes": 35, "segmentation": 4}.get(task, 64)
    what = "inputs of GANModule.export_inputs" if task == "gan" else "validation samples"
    assert result.out.count(f"over {count} {what}") == len(rows) - ("module" in rows)


@pytest.mark.long
def test_what_goes_in_and_comes_out_has_names(train: Train) -> None:
    words = ("--latency", "false")
    path = fit(train, "gpt")
    assert train("export", "--ckpt_path", str(path), *words, "--licence", "CC0").code == 0
    session = onnxruntime.InferenceSession(path.with_suffix(".onnx"), providers=["CPUExecutionProvider"])
    for length in (1, 5, 128):
        (logits,) = session.run(None, {"inputs": np.zeros((3, length), np.uint8)})
        assert logits.shape == (3, length, 256)
    known = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    assert (
        known["inputs"] == {"dtype": "uint8", "shape": ["batch", "length"], "max_length": 128}
        and known["licence"] == "CC0"
    )
    assert known["precision"] == "float32" and known["temperature"] is None

    path = fit(train, "vae")
    for method, names in {"outputs": ["output_0", "output_1"], "decode": ["outputs"]}.items():
        chosen = ("--method", method, "--output", f"{method}.onnx")
        assert train("export", "--ckpt_path", str(path), *words, *chosen).code == 0
        session = onnxruntime.InferenceSession(f"{method}.onnx", providers=["CPUExecutionProvider"])
        assert [item.name for item in session.get_outputs()] == names
    assert session.run(None, {"inputs": np.zeros((5, 16), np.float32)})[0].shape == (5, 17, 8, 8)
    result = train("export", "--ckpt_path", str(path), "--method", "encode")
    assert result.code == 2 and "VAEModule has no method encode that takes inputs and returns tensors" in result.err


@pytest.mark.long
def test_modules_and_data_of_ones_own(train: Train) -> None:
    plain = ("--config", "plain.yaml", "--run_name", "a", *QUICK)
    for data in ("OwnData", None):
        content: dict[str, Any] = {"model": f"{KINDS}.{'Validated' if data else 'OwnLoaders'}"}
        Path("plain.yaml").write_text(json.dumps(content | ({"data": f"{KINDS}.{data}"} if data else {})))
        shutil.rmtree("logs", ignore_errors=True)
        assert train("fit", *plain).code == 0
        checkpoint = "logs/plain/a/checkpoints/last.ckpt"
        for more, what in ([], "inputs of its first validation batch"), (["--input_shape", "64"], "random inputs"):
            result = train("export", "--ckpt_path", checkpoint, "--latency", "false", *more)
            assert (result.code, result.err) == (0, "") and f"over {64 if more else 10} {what}" in result.out
            session = onnxruntime.InferenceSession(
                checkpoint.replace("ckpt", "onnx"), providers=["CPUExecutionProvider"]
            )
            known = session.get_modelmeta().custom_metadata_map
            assert json.loads(known["inputs"])["preprocessing"] == "none in the file: inputs as the network takes them"
            assert session.run(None, {"inputs": np.zeros((7, 64), np.float32)})[0].shape == (7, 10)
    result = train("export", "--ckpt_path", checkpoint, "--format", "pt2", "--output", "any.name")
    assert result.code == 0 and torch.export.load("any.name").module()(torch.zeros(3, 64)).shape == (3, 10)
    result = train("export", "--ckpt_path", checkpoint, "--precision", "int8")
    assert result.code == 2 and "OwnLoaders is no BaseModule with metrics" in result.err
    result = train("export", "--ckpt_path", checkpoint, "--input_shape", "3,x")
    assert result.code == 2 and "--input_shape must be like 3,224,224, got 3,x" in result.err
    result = train("export", "--ckpt_path", checkpoint, "--input_shape", "7")
    assert result.code == 1 and "forward cannot be run on inputs of shape (2, 7)" in result.err


@pytest.mark.long
def test_the_script_of_the_documentation_needs_no_torch(train: Train, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        write_images(tmp_path / "data" / name, 30, (90, 75))  # large enough to be decoded at half their size
    path = fit(train, "image_folder", "--data.root", "data", "--data.image_size", "16", "--model.net.layers", "[4, M]")
    result = train("export", "--ckpt_path", str(path), "--output", "out/p.onnx")
    assert result.code == 0, result.err
    rows = {
        line.split()[0]: line.split()[-2:] for line in result.out.splitlines() if line.startswith(("module", "p.onnx"))
    }
    assert all(float(value.replace(",", "")) > 0 for row in rows.values() for value in row) and len(rows) == 2
    known = {entry.key: json.loads(entry.value) for entry in onnx.load("out/p.onnx").metadata_props}
    assert known["class_names"] == ["cat", "dog"]
    assert known["inputs"]["shape"] == ["batch", 3, "height", "width"] and known["inputs"]["dtype"] == "uint8"
    own = torch.load(path, weights_only=True)["metrics"]
    assert (
        known["metrics"] == pytest.approx(own)
        and "val/accuracy" in own
        and "probability of each class" in known["outputs"]
    )
    files = sorted(str(file) for file in Path("data").rglob("*.jpg"))
    whole = [np.asarray(Image.open(file)).transpose(2, 0, 1)[None] for file in files]
    session = onnxruntime.InferenceSession("out/p.onnx", providers=["CPUExecutionProvider"])
    given = [session.run(None, {"inputs": pixels})[0][0] for pixels in whole]
    predicted = [list(item.probabilities.values()) for item in load_model(path).predict(files)]
    differences = [np.abs(one - np.array(other)).max() for one, other in zip(given, predicted, strict=True)]
    (line,) = re.findall(r"difference to predict over \d files .*, decoded in full size: (.*)", result.out)
    middle, greatest = map(float, re.findall(r"\d\S+e\S+", line))
    assert any(greatest == pytest.approx(value, rel=0.06) for value in differences) and 0 < middle <= greatest
    images = [*write_images(tmp_path / "new", 2, (40, 16)), *write_images(tmp_path / "small", 1, (16, 16))]
    assert "any size; the file makes them 16 x 16" in known["inputs"]["preprocessing"]
    with pytest.raises(Exception, match="Got: 1 Expected: 3"):
        session.run(None, {"inputs": np.zeros((1, 1, 16, 16), np.uint8)})
    script, server = re.findall(r"```python\n(.*?)```", (ROOT / "docs/deploy.md").read_text(), flags=re.DOTALL)
    (tmp_path / "script.py").write_text(script)
    python = environment(tmp_path / "venv", "onnxruntime", "numpy", "pillow")
    assert subprocess.run([python, "-c", "import torch"], capture_output=True, check=False).returncode == 1
    command = [python, "script.py", "out/p.onnx", *map(str, images)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = load_model(path).predict([str(image) for image in images])
    for line, expected in zip(done.stdout.splitlines(), found, strict=True):
        _, label, probability = line.split()
        assert float(probability) == pytest.approx(expected.probabilities[label], abs=0.005)
    assert len(script.splitlines()) <= 25
    if importlib.util.find_spec("fastapi"):
        (tmp_path / "serve.py").write_text(server)
        python = environment(
            tmp_path / "server", "onnxruntime", "numpy", "pillow", "fastapi", "uvicorn", "python-multipart"
        )
        serve_and_ask([python, "serve.py", "out/p.onnx"], images[0], found[0].probabilities)


def serve_and_ask(command: list[str], image: Path, probabilities: dict[str, float]) -> None:
    """Start a server in an environment without torch, send an image and what is none, and look at the answers."""
    assert subprocess.run([command[0], "-c", "import torch"], capture_output=True, check=False).returncode == 1
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    head = b'--x\r\nContent-Disposition: form-data; name="%s"; filename="a.jpg"\r\n\r\n'

    def ask(field: str, content: bytes) -> tuple[int, Any]:
        body = head % field.encode() + content + b"\r\n--x--\r\n"
        request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", body)
        request.add_header("Content-Type", "multipart/form-data; boundary=x")
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)["detail"]

    with subprocess.Popen([*command, str(port)], stderr=subprocess.PIPE, text=True) as server:
        try:
            while "Uvicorn running" not in (line := server.stderr.readline()):  # type: ignore[union-attr]
                assert line, "the server ended"
            status, answer = ask("image", image.read_bytes())
            assert status == 200 and answer == pytest.approx(probabilities, abs=0.005)
            assert ask("image", b"no image") == (415, "this is no image that can be read")
            assert ask("picture", image.read_bytes()) == (422, "send one image as the form's field 'image'")
            assert ask("image", b"")[0] == 415
            with socket.create_connection(("127.0.0.1", port), timeout=30) as line:  # 100 MB, of which none is read
                start = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
                line.sendall(f"{start}Content-Length: 100000000\r\n\r\n".encode())
                assert line.recv(1000).startswith(b"HTTP/1.1 413 ")
            assert ask("image", image.read_bytes())[0] == 200  # it still serves
        finally:
            server.terminate()


@pytest.mark.long
def test_what_differs_is_removed_and_what_is_not_there_is_made_up(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", inputs=random.random((60, 5)).astype(np.float32), targets=np.arange(60) % 3)
    path = fit(train, "arrays", "--data.train", "a.npz")
    (tmp_path / "a.npz").unlink()
    result = train("export", "--ckpt_path", str(path), "--format", "pt2", "--latency", "false")
    assert result.code == 0, result.err
    assert "over 64 random inputs, since the data is not here (a.npz: no such file)" in result.out
    program: Any = torch.export.load(path.with_suffix(".pt2"), extra_files=(extra := {"metadata.json": ""}))
    assert json.loads(extra["metadata.json"])["inputs"] == {"dtype": "float32", "shape": ["batch", 5]}
    assert program.module()(torch.zeros(7, 5)).sum(dim=1).tolist() == pytest.approx([1.0] * 7)
    monkeypatch.setattr(torch, "compile", None)  # which takes the most of the time
    measured = train("export", "--ckpt_path", str(path), "--format", "pt2")
    told = measured.out.index("measuring how long a batch takes")  # before the silence
    assert told < measured.out.index("compiled: not measured") < measured.out.index("ms, batch 1")
    monkeypatch.setattr("trainworks.cli.exporting.export.TOLERANCE", -1.0)
    before = path.with_suffix(".pt2").read_bytes()
    failed = train("export", "--ckpt_path", str(path), "--format", "pt2")
    assert failed.code == 1 and "best.pt2 is not written: its outputs differ by more than -1" in failed.err
    assert path.with_suffix(".pt2").read_bytes() == before  # what was there stays
    assert sorted(file.name for file in path.parent.iterdir() if "export" in file.name) == []
    monkeypatch.setattr("trainworks.cli.exporting.exported.ONNX_BYTES", 1000)  # 2 GB take minutes
    failed = train("export", "--ckpt_path", str(path), "--format", "onnx")
    assert failed.code == 1 and "and an .onnx file holds at most 0.00; write --format pt2" in failed.err


class Refusing(torch.nn.Module):
    """A network that refuses to be exported, without a word."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(64, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if torch.compiler.is_exporting():
            raise NotImplementedError
        return self.layer(images.flatten(1))


def test_a_network_that_refuses_without_a_word(train: Train) -> None:
    path = fit(train, "digits", *PLAIN, "--model.net", f"{__name__}.Refusing", "--model.net.num_classes", "10")
    result = train("export", "--ckpt_path", str(path), "--format", "pt2")
    assert (result.code, result.err) == (1, "error: ClassifierModule cannot be exported: NotImplementedError\n")


def test_what_does_not_export_says_so(train: Train) -> None:
    path = fit(train, "digits", *PLAIN)
    for method, code, message in (
        ("class_names", 2, "ClassifierModule has no method class_names that takes inputs and returns tensors"),
        ("results", 1, "ClassifierModule.results cannot be run on inputs of shape (2, 1, 8, 8): "),
        ("figure_metrics", 1, "ClassifierModule.figure_metrics cannot be run on inputs of shape"),
    ):
        result = train("export", "--ckpt_path", str(path), "--method", method)
        assert (result.code, message in result.err) == (code, True), result.err


def test_mistakes(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fit(train, "digits", *PLAIN)
    (tmp_path / "config.yaml").write_text("a: 1\n")
    torch.save({"state_dict": {}}, tmp_path / "foreign.ckpt")
    Image.new("L", (8, 8)).save(tmp_path / "image.ckpt", "PNG")
    for words, message in {
        "": "export needs --ckpt_path FILE",
        f"--ckpt_path {path} --format tflite": "--format must be onnx or pt2 or all, got tflite",
        "--ckpt_path gone.ckpt": "--ckpt_path gone.ckpt: no such file",
        "--ckpt_path foreign.ckpt": "does not say how its module was built",
        f"--ckpt_path {path} --latency maybe": "--latency must be true or false, got maybe",
        f"--ckpt_path {path} --opset 17": "--opset must be 18 to ",
        f"--ckpt_path {path} --opset 99": " here, got 99",
        f"--ckpt_path {path} --opset 21 --precision int8": "--opset must be 18 to 20 here, got 21",
        f"--ckpt_path {path} --output a.pt2": "--output must be a file, such as a.onnx, got a.pt2",
        f"--ckpt_path {path} --output logs --format pt2": "--output must be a file, such as a.pt2, got logs",
        f"--ckpt_path {path} --tolerance -1": "--tolerance must be like 0.002 or 0.01, got -1",
        f"--ckpt_path {path} --format pt2 --precision int8": "--precision int8 needs --format onnx, got pt2",
    }.items():
        result = train("export", *words.split())
        assert (result.code, message in result.err) == (2, True), (words, result.err)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    result = train("export", "--ckpt_path", str(path))
    assert result.code == 2 and "--format onnx needs onnxscript; write pip install -e '.[onnx]'" in result.err
