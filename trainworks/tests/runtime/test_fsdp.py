"""Weights sharded over two real processes, sharded checkpoints, and their way to other layouts and back."""

import io
import json
import pickle
import shutil
import zlib
from pathlib import Path

import pytest
import torch

from trainworks.errors import UsageError
from trainworks.models import load_model
from trainworks.runs.files import recover
from trainworks.runs.sharded import _Unpickler, check_shards, merge_shards, read_shards
from trainworks.tests.conftest import CONFIGS, DIGITS, PLAIN, ROOT, STILL, Train
from trainworks.tests.test_exact_resume import BOMB, NET, compare

OVERLAY = str(CONFIGS / "overlays/fsdp.yaml")
TWO = ("--trainer.accelerator", "cpu", "--trainer.devices", "2")
BLOCKS = ("--trainer.strategy.min_num_parameters", "100", "--callbacks.checkpointing.min_num_parameters", "100")
SHARED = ("--config", DIGITS, "--config", OVERLAY, *TWO, *BLOCKS)
LIMITS = ("--trainer.max_epochs", "3", "--trainer.limit_train_batches", "5", "--trainer.limit_val_batches", "2")
SHORT = (*LIMITS, *PLAIN, "--callbacks.last.every_n_steps", "2")
PARTS = {".metadata", "__0_0.distcp", "__1_0.distcp", "plain.pt", "checksums.json"}


def of(run: str, name: str = "last.ckpt") -> Path:
    return Path("logs/digits", run, "checkpoints", name)


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.mark.two_processes
def test_continues_exactly_also_after_kills_and_damage(train_process: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """With batch norm, dropout and random transforms, weights kept of each block alone."""
    words = ("fit", *SHARED, *SHORT, *NET, BOMB, "--run_name")
    whole = train_process(*words, "whole")
    assert whole.code == 0, whole.err
    monkeypatch.setenv("BOMB", "batch:8")
    stopped = train_process(*words, "cut")
    assert stopped.code == 1 and "bomb" in stopped.err
    monkeypatch.delenv("BOMB")
    assert {path.name for path in of("cut").iterdir()} == PARTS
    shutil.copytree("logs/digits/cut", "logs/digits/flipped")
    flip(of("flipped") / "__1_0.distcp")
    of("cut").rename(of("cut", "last.ckpt.old"))  # killed between the two renames
    of("cut", "best.ckpt.tmp").mkdir()
    for name in ("cut", "flipped"):
        resumed = train_process("fit", "--resume", f"logs/digits/{name}")
        assert resumed.code == 0, resumed.err
        compare(Path("logs/digits/whole"), Path("logs/digits", name))
        assert "continues from" in resumed.out
        assert ("passed over: " in resumed.out) == (name == "flipped")
        assert {path.name for path in of(name).parent.iterdir()} == {"best.ckpt", "last.ckpt", "last-1.ckpt"}


@pytest.mark.two_processes
def test_a_run_begins_as_without_sharding(train_process: Train) -> None:
    """AdamW's first step is that of a new optimizer: torch's way to ask for its state counts as a step."""
    one = ("--trainer.accelerator", "cpu", "--trainer.devices", "1", *SHORT)
    for name, words in (("whole", ()), ("sharded", ("--config", OVERLAY, *BLOCKS))):
        result = train_process("fit", "--config", DIGITS, *words, *one, "--run_name", name)
        assert result.code == 0, result.err
    whole = torch.load(of("whole"), weights_only=True)["state_dict"]
    sharded = merge_shards(of("sharded"))["state_dict"]
    assert whole.keys() == sharded.keys()
    assert all(torch.allclose(value, sharded[name], atol=1e-4) for name, value in whole.items())


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.two_processes
@pytest.mark.parametrize("optimizer", ["torch.optim.AdamW", "torch.optim.SGD"])
def test_goes_to_one_process_and_back(
    train: Train, train_process: Train, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    """Two share the weights, then one has them all, then two again; as if one had trained throughout."""
    net = (
        "--model.net",
        "trainworks.tests.examples.networks.MLP",
        "--model.net.hidden",
        "[24, 16]",
        "--model.net.batch_norm",
        "false",
    )
    net += ("--model.net.in_features", "64", "--model.net.num_classes", "10")
    Path("still.yaml").write_text(STILL)
    words = ("--config", "still.yaml", *SHORT, *net, "--model.optimizer", optimizer, "--model.optimizer.lr", "0.01")
    one = ("--trainer.devices", "1", "--trainer.strategy", "auto")
    plain = train("--config", DIGITS, *TWO[:2], *words, "--run_name", "plain")
    assert plain.code == 0, plain.err
    begun = ("--config", DIGITS, "--config", OVERLAY, *TWO, *BLOCKS[:2], *words, BOMB)
    begun += ("--callbacks.checkpointing", "null")
    monkeypatch.setenv("BOMB", "batch:5")
    assert "bomb" in train_process(*begun, "--run_name", "a").err
    monkeypatch.setenv("BOMB", "batch:11")
    alone = train("--resume", "logs/digits/a", *one)
    assert "bomb" in alone.err and of("a").is_file()
    assert "2 processes saved it, 1 continue" in alone.out
    monkeypatch.delenv("BOMB")
    together = train_process("--resume", "logs/digits/a")
    assert together.code == 0, together.err
    assert "1 processes saved it, 2 continue" in together.out
    assert of("a").is_dir() and of("a", "best.ckpt").is_dir()
    expected = torch.load(of("plain"), weights_only=True)
    found = merge_shards(of("a"))
    torch.testing.assert_close(found["state_dict"], expected["state_dict"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        found["optimizer_states"][0]["state"], expected["optimizer_states"][0]["state"], rtol=1e-3, atol=1e-5
    )
    metrics = [json.loads(Path("logs/digits", run, "run.json").read_text())["metrics"] for run in ("plain", "a")]
    assert metrics[1] == pytest.approx(metrics[0], rel=1e-3)
    if optimizer.endswith("AdamW"):  # a part each: what a process writes is about half of it
        sizes = [(of("a") / name).stat().st_size for name in ("__0_0.distcp", "__1_0.distcp")]
        assert max(sizes) < 0.7 * sum(sizes)


@pytest.mark.two_processes
def test_merge_makes_one_file_for_every_command(train_process: Train, train: Train) -> None:
    run = train_process(*SHARED, *SHORT[:4], *SHORT[6:], "--data.val_fraction", "0.09", "--run_name", "a")
    assert run.code == 0, run.err
    assert "val 129," in run.out  # 65 and 64 samples, in batches of 32: all processes take equally many batches
    tested = json.loads(Path("logs/digits/a/run.json").read_text())["metrics"]["test/accuracy"]
    done = train("merge", "--ckpt_path", str(of("a", "best.ckpt")))
    assert (done.code, done.out.split(":")[0]) == (0, str(of("a", "best-merged.ckpt")))
    one = ("--trainer.devices", "1", "--trainer.strategy", "auto")
    for path in (of("a", "best-merged.ckpt"), of("a", "best.ckpt")):
        again = train("test", "--ckpt_path", str(path), *one)
        assert again.code == 0, again.err
        assert json.loads(Path("logs/digits/a/run.json").read_text())["metrics"]["test/accuracy"] == tested
    predicted = train_process("predict", "--config", DIGITS, "--run_name", "a")  # two processes, from the folder
    assert predicted.code == 0, predicted.err
    assert len(Path("logs/digits/a/predictions.csv").read_text().splitlines()) == 360
    assert load_model(of("a", "best-merged.ckpt"))(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    for source in ("best.ckpt", "best-merged.ckpt"):
        words = ("--callbacks.init", "trainworks.callbacks.InitFrom", "--callbacks.init.path", str(of("a", source)))
        tuned = train("fit", "--config", DIGITS, *SHORT, *words, "--trainer.accelerator", "cpu", "--run_name", source)
        assert "tensors of SmallCNN from" in tuned.out, tuned.err
    flip(of("a", "best.ckpt") / "plain.pt")
    for path, message in (
        (of("a", "best.ckpt"), "damaged: plain.pt is not what was written"),
        (of("a", "best-merged.ckpt"), "not a sharded checkpoint"),
    ):
        failed = train("merge", "--ckpt_path", str(path))
        assert failed.code == 2 and message in failed.err
    assert "merge needs --ckpt_path" in train("merge").err


@pytest.mark.two_processes
def test_a_transformer_with_tied_weights(train_process: Train) -> None:
    small = ("--model.net.num_layers", "2", "--model.net.width", "16", "--model.net.num_heads", "2")
    config = str(CONFIGS / "gpt.yaml")
    steps = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "4", "--trainer.limit_val_batches", "2")
    words = (*small, *steps, "--trainer.limit_test_batches", "2", "--callbacks.notes.graph", "false")
    runs = []
    for name, layout in (("ddp", ("--trainer.strategy", "ddp")), ("shared", ("--config", OVERLAY, *BLOCKS))):
        run = train_process("--config", config, *layout, *TWO, *words, "--run_name", name)
        assert run.code == 0, run.err
        runs.append(json.loads(Path("logs/gpt", name, "run.json").read_text())["metrics"])
    assert runs[1] == pytest.approx(runs[0], rel=1e-4)


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return zlib.crc32, (b"",)  # type: ignore[return-value]


@pytest.mark.parametrize("module", [b"pathlib", b"pathlib._local"])  # as Python 3.13 calls it
def test_an_index_of_any_python_is_read(module: bytes) -> None:
    index = pickle.dumps({"here": Path("a/b")}, protocol=0).replace(b"cpathlib._local\n", b"cpathlib\n")
    assert b"cpathlib\n" in index
    assert _Unpickler(io.BytesIO(index.replace(b"cpathlib\n", b"c" + module + b"\n"))).load() == {"here": Path("a/b")}


def test_an_index_that_names_code_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".metadata").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(UsageError, match=r"names zlib.crc32, which could run code"):
        read_shards(tmp_path)
    with pytest.raises(UsageError, match="not complete: no checksums"):
        check_shards(tmp_path)


def test_what_a_kill_leaves_is_mended(tmp_path: Path) -> None:
    for name in ("last.ckpt.old", "best.ckpt.old", "best.ckpt", "last.ckpt.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "content").write_text(name)
    recover(tmp_path)
    assert {path.name: (path / "content").read_text() for path in tmp_path.iterdir()} == {
        "last.ckpt": "last.ckpt.old", "best.ckpt": "best.ckpt",
    }  # fmt: skip
