"""Modules and data of another make go through the real entry point, with every default callback."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch.cli import LightningCLI
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils._pytree import tree_leaves

import trainworks
from trainworks.callbacks import ResultWriter
from trainworks.models import load_model
from trainworks.tests.conftest import CONFIGS, DIGITS, PLAIN, Result, Train

TO_FLOAT = "{class_path: torchvision.transforms.v2.ToDtype, init_args: {dtype: torch.float32, scale: true}}"
DATA = f"""
data:
  class_path: trainworks.tests.examples.digits.DigitsDataModule
  init_args: {{train_transform: [{TO_FLOAT}], eval_transform: [{TO_FLOAT}]}}
trainer: {{max_epochs: 2, limit_train_batches: 6, accelerator: cpu, log_every_n_steps: 2}}
"""
TWO = ("--model.scheduler", "null", "--trainer.max_epochs", "2", "--trainer.limit_train_batches", "4")
BORING = "lightning.pytorch.demos.boring_classes"


@pytest.fixture
def run(train: Train, tmp_path: Path) -> Train:
    """Train a module of trainworks/tests/strangers.py on the digits, in the run `a` of the experiment `plain`."""
    (tmp_path / "plain.yaml").write_text(DATA)

    def go(model: str, *words: str, command: str | None = None, config: str = "plain.yaml") -> Result:
        path = model if "." in model else f"trainworks.tests.strangers.{model}"
        line = [*([command] if command else []), "--config", config, "--model", path, "--run_name", "a", *words]
        return train(*line)

    return go


def record() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path("logs/plain/a/run.json").read_text())
    return content


def summary(result: Result) -> dict[str, str]:
    """Return the closing lines by name."""
    rows = result.out.rpartition("\n\n")[0].rpartition("\n\n")[2].splitlines()
    return dict(re.split(r"\s{2,}", row, maxsplit=1) for row in rows)


NO_BEST = "no best checkpoint is kept, the last weights count: "
MODULES = {  # what is printed, and the metrics in the summary
    "Trained": ((f"{NO_BEST}there is no validation", "Trained has no test_step: nothing is tested"), {"train_loss"}),
    "Validated": (
        (f"{NO_BEST}it would monitor 'val/loss', which Validated does not log; it logs valid_acc, valid_loss: choose",),
        {"valid_loss", "valid_acc"},
    ),
    "Tested": ((f"{NO_BEST}it would monitor 'val/loss'",), {"test_acc"}),
    "Silent": ((f"{NO_BEST}it would monitor 'val/loss', which Silent does not log\n",), {"train_loss"}),
    "Skips": ((f"{NO_BEST}there is no validation", "Skips has no test_step: nothing is tested"), {"train_loss"}),
    "TwoNets": ((f"{NO_BEST}there is no validation", "TwoNets has no test_step: nothing is tested"), set()),
    f"{BORING}.BoringModel": (
        (f"{NO_BEST}it would monitor 'val/loss', which BoringModel does not log\n",),
        {"train/loss"},
    ),
    f"{BORING}.ManualOptimBoringModel": ((f"{NO_BEST}it would monitor",), {"train/loss"}),
}


def test_a_test_of_any_name_a_mask_and_a_predict_of_its_own(run: Train, train: Train) -> None:
    result = run("Masked")
    assert (result.code, result.err) == (0, "")
    assert re.search(r"^\| testAcc \| 0\.\d{4} \|$", Path("logs/plain/a/README.md").read_text(), re.MULTILINE)
    again = trainworks.train("plain.yaml", {"model": "trainworks.tests.strangers.Masked"}, run_name="a", resume="auto")
    assert again.metrics == {"testAcc": record()["evaluations"][0]["metrics"]["testAcc"]}
    assert again.model.predict("a loader") == "what the class makes of a loader"
    assert again.model.mask.isinf().sum() == 6


@pytest.mark.filterwarnings("ignore:`training_step` returned `None`")  # said to the user, who may have meant it
@pytest.mark.parametrize("model", MODULES)
def test_it_trains_and_what_cannot_be_done_is_said(run: Train, tmp_path: Path, model: str) -> None:
    words = ("--data", "null", "--trainer.limit_test_batches", "2") if "." in model else ()
    result = run(model, *words)
    assert (result.code, result.err) == (0, "")
    printed, metrics = MODULES[model]
    assert [line for line in printed if line not in result.out] == []
    shown = {*metrics, "best checkpoint", "ended by", "run directory", "seconds"}
    assert summary(result).keys() - {"best epoch"} == shown
    assert all(0 < float(summary(result)[name]) < 10 for name in metrics)
    checkpoint = torch.load(tmp_path / "logs/plain/a/checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["loops"]["fit_loop"]["epoch_loop.state_dict"]["_batches_that_stepped"] == 12
    assert record()["exit_status"] == 0
    assert metrics <= record()["metrics"].keys()
    assert "step" not in str(list(record()["metrics"]))


@pytest.mark.parametrize("what", ["nothing", "tensor", "mapping", "loss", "vector"])
def test_a_manual_step_may_return_anything(run: Train, what: str) -> None:
    often = ("--callbacks.progress.line_seconds", "0.000001")
    result = run("Returns", "--model.what", what, *often, "--trainer.limit_train_batches", "12")
    assert (result.code, result.err) == (0, "")
    lines = [line for line in result.out.splitlines() if "  batch " in line]
    assert len(lines) == 24
    assert all(("train/loss_step" in line) == (what in ("tensor", "loss", "vector")) for line in lines)
    assert all("samples/s" in line for line in lines)
    advice = re.search(r"samples/s; (\d+)% of the step", result.out)
    assert advice and int(advice[1]) <= 100


def test_parts_of_a_step_by_hand_add_up(run: Train) -> None:
    """The optimizer runs within the training step there; its time is not the forward pass's too."""
    assert run("TwoNets", "--trainer.limit_train_batches", "12").code == 0
    events = EventAccumulator("logs/plain/a").Reload()
    shares = {tag: events.Scalars(tag)[-1].value for tag in events.Tags()["scalars"] if tag.startswith("speed/")}
    assert sum(value for tag, value in shares.items() if "samples" not in tag) == pytest.approx(1.0, abs=1e-4)
    assert min(shares["speed/forward"], shares["speed/optimizer"]) > 0


def test_without_a_loss_the_weights_are_looked_at_before_each_save(run: Train, tmp_path: Path) -> None:
    result = run("TwoNets", "--model.broken_batch", "8")
    assert result.code == 1
    assert "error: first.weight holds NaN or infinite values after batch 5 of epoch 1 (batch 11" in result.err
    assert "gradient_clip_val" not in result.err  # which manual optimization does not have
    saved = torch.load(tmp_path / "logs/plain/a/checkpoints/last.ckpt", weights_only=True)
    assert saved["loops"]["fit_loop"]["epoch_loop.state_dict"]["_batches_that_stepped"] == 6


def test_batches_without_tensors(run: Train) -> None:
    result = run("Words", "--data", "null", "--callbacks.progress.line_seconds", "0.000001")
    assert (result.code, result.err) == (0, "")
    assert "samples/s" not in result.out
    assert "Words brings its own loaders: a run that is stopped goes on in the same order, bit by bit" in result.out


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("OwnData", "An invalid dataloader was returned from `OwnData.test_dataloader()`: nothing is tested"),
        ("NoTestData", "NoTestData has no test_dataloader: nothing is tested"),
    ],
)
def test_data_without_a_test(run: Train, data: str, said: str) -> None:
    result = run("Tested", "--data", f"trainworks.tests.strangers.{data}")
    assert (result.code, result.err) == (0, "")
    assert said in result.out
    assert f"{data} brings its own loaders" in result.out
    assert ("valid_acc" in summary(result)) == (data == "OwnData")


def test_evaluation_says_what_is_missing(run: Train, train: Train) -> None:
    assert run("Validated").code == 0
    for command, said in (
        ("test", "Validated has no test_step"),
        ("predict", "Validated has no predict_step, and its forward cannot take a batch of this data: "),
    ):
        result = train(command, "--config", "plain.yaml")
        assert (result.code, "Traceback" in result.err) == (2, False)
        assert result.err.startswith(f"error: {said}")
    result = train("validate", "--config", "plain.yaml")  # of the last weights, since no best were kept
    assert "validate: logs/plain/a/checkpoints/last.ckpt" in result.out
    assert summary(result).keys() == {"valid_loss", "valid_acc", "run directory", "seconds"}
    assert run("Trained", "--run_name", "b").code == 0
    assert "Trained has no validation_step" in train("validate", "--config", "plain.yaml").err
    result = run(f"{BORING}.BoringModel", "--data", "null", "--experiment", "boring")
    assert result.code == 0
    assert train("predict", "--ckpt_path", "logs/boring/a/checkpoints/last.ckpt").code == 0
    assert len(Path("logs/boring/a/predictions.csv").read_text().splitlines()) == 65


def test_a_run_that_continues_says_what_covers_only_a_part(run: Train, train: Train) -> None:
    steps = ("--callbacks.last.every_n_steps", "1", "--trainer.max_epochs", "3")
    assert run("TwoNets", *steps, "--model.broken_batch", "8").code == 1
    record = Path("logs/plain/a/config.yaml")
    record.write_text(record.read_text().replace("broken_batch: 8", "broken_batch: null"))
    result = train("--resume", "logs/plain/a")
    assert (result.code, result.err) == (0, "")
    assert "what TwoNets logs of this epoch's training covers only the batches from here on" in result.out
    assert [line.split("  ")[0] for line in result.out.splitlines() if line.startswith("epoch")] == [
        "epoch 2/3",
        "epoch 3/3",
    ]
    assert run("TwoNets", *steps, "--run_name", "b").code == 0
    ends = [torch.load(f"logs/plain/{name}/checkpoints/last.ckpt", weights_only=True) for name in "ab"]
    for part in ("state_dict", "optimizer_states", "global_step"):
        assert_same(*(end[part] for end in ends))


def assert_same(one: Any, other: Any) -> None:
    leaves, others = tree_leaves(one), tree_leaves(other)
    assert len(leaves) == len(others) > 0
    for leaf, twin in zip(leaves, others, strict=True):
        assert torch.equal(leaf, twin) if isinstance(leaf, torch.Tensor) else leaf == twin


MONITORS = {
    "--callbacks.best.monitor valid_accc": r"monitors 'valid_accc', which .* \(did you mean valid_acc\?\); it logs",
    "--callbacks.best.monitor val/loss": "monitors 'val/loss', which Validated does not log",
    "--config monitor.yaml": "monitors 'val/loss', which Validated does not log",
    "--callbacks.best.monitor val_x --trainer.num_sanity_val_steps 0": "monitors 'val_x', which .*; it logs valid_acc",
    "--callbacks.best.monitor trian_loss": "could not find the monitored key",
}


@pytest.mark.parametrize("words", MONITORS)
def test_a_monitor_that_somebody_wrote_must_be_logged(run: Train, tmp_path: Path, words: str) -> None:
    (tmp_path / "monitor.yaml").write_text("callbacks: {best: {init_args: {monitor: val/loss}}}")
    result = run("Validated", *words.split())
    assert (result.code, "Traceback" in result.err) == (2, False)
    assert re.search(MONITORS[words], result.err), result.err


def test_a_metric_of_its_own_is_monitored(run: Train, train: Train) -> None:
    result = run("Validated", "--callbacks.best.monitor", "valid_acc", "--callbacks.best.mode", "max")
    assert result.code == 0
    assert record()["best"].keys() == {"valid_acc"}
    again = train("--config", "logs/plain/a/config.yaml", "--run_name", "b", "--trainer.limit_val_batches", "0")
    assert (again.code, f"{NO_BEST}there is no validation" in again.out) == (0, True)  # a saved file is nobody's words


EARLY_STOPPING = ("--config", str(CONFIGS / "overlays/early_stopping.yaml"))


def test_what_a_sanity_validation_logs_is_not_all_that_validations_log(run: Train) -> None:
    result = run("ByStage", *EARLY_STOPPING)
    assert (result.code, result.err) == (0, "")
    assert record()["best"].keys() == {"val_loss"} and "no best checkpoint" not in result.out
    assert result.out.count("a module speaks\n") == 3
    state = torch.load("logs/plain/a/checkpoints/last.ckpt", weights_only=True)["callbacks"]
    assert "EarlyStopping{'monitor': 'val_loss', 'mode': 'min'}" in state  # as the best checkpoint does


@pytest.mark.parametrize("words", [(), ("--trainer.val_check_interval", "3", *EARLY_STOPPING)])
def test_a_wrong_monitor_that_only_a_validation_shows_loses_nothing(run: Train, words: tuple[str, ...]) -> None:
    result = run("ByStage", "--model.monitor", "val_lss", *words)
    wrong = "monitors 'val_lss', which ByStage does not log (did you mean val_loss?); it logs val_loss\n"
    assert (result.code, result.err) == (2, f"error: ReduceLROnPlateau {wrong}")
    last = torch.load("logs/plain/a/checkpoints/last.ckpt", weights_only=True)
    assert last["global_step"] == (3 if words else 6)
    assert last["exact"]["finished"] is False
    assert record()["exit_status"] == 2


def test_a_checkpoint_that_a_module_brings_stands_beside_the_best_one(run: Train) -> None:
    result = run("KeepsItself")
    assert result.code == 0, result.err
    assert "best.ckpt goes by 'valid_acc' (max), as that of KeepsItself does" in result.out
    assert summary(result)["best checkpoint"] == "logs/plain/a/checkpoints/best.ckpt"
    assert run("KeepsItself", "--resume", "auto", "--trainer.max_epochs", "3").code == 0
    assert (record()["best"], record()["best_metrics"]["valid_acc"]) == ({"valid_acc": 1.0}, 1.0)  # it is remembered
    names = {path.stem: path for path in Path("logs/plain/a/checkpoints").iterdir()}
    assert names.keys() == {"best", "epoch=0-step=6", "last", "last-1"}
    assert all("exact" in torch.load(names[name], weights_only=True) for name in ("last", "last-1"))
    module: Any = load_model(names["best"])  # it says how it was built
    assert module.monitor == "valid_acc"
    words = ("--callbacks.best.monitor", "valid_loss", "--run_name", "b", "--model.monitor", "null")
    assert run("KeepsItself", *words).code == 0
    assert json.loads(Path("logs/plain/b/run.json").read_text())["best"].keys() == {"valid_loss"}


def test_a_loss_that_is_only_returned_is_shown(run: Train) -> None:
    result = run("ReturnsLoss", "--trainer.accumulate_grad_batches", "2")
    shown = re.findall(r"^epoch .* train/loss (\S+)", result.out, re.MULTILINE)
    assert [f"{item.value:.4f}" for item in EventAccumulator("logs/plain/a").Reload().Scalars("train/loss")] == shown
    assert len(shown) == 2 and 1 < float(shown[1]) < float(shown[0]) < 3


MISTAKES = {
    "Chained --model.rate 2": "rate must be below 1, got 2.0\n",
    "FromOtherPackage": "model: trainworks.tests.strangers.FromOtherPackage derives from the package pytorch_lightning",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_what_its_own_code_refuses_is_said_in_its_own_words(run: Train, words: str) -> None:
    result = run(*words.split())
    assert (result.code, "Traceback" in result.err) == (2, False)
    assert result.err.startswith(f"error: {MISTAKES[words]}")


def test_a_rate_is_found_for_a_module_without_arguments(train: Train) -> None:
    Path("plain.yaml").write_text(f"model: trainworks.tests.strangers.Tested\n{DATA}")
    result = train("find_lr", "--config", "plain.yaml", *PLAIN)
    assert result.code == 0, result.err
    assert re.search(r"\n90 rates from .*\na tenth of the rate with the lowest loss: \d", result.out)


@pytest.mark.parametrize("words", [(), ("--trainer.num_sanity_val_steps", "0")])
def test_val_loss_is_monitored_unasked(run: Train, train: Train, words: tuple[str, ...]) -> None:
    result = run("Worse", *words)
    assert (result.code, "no best checkpoint" in result.out) == (0, False)
    assert record()["best"] == {"val_loss": 0.0}
    assert train("--resume", "logs/plain/a", "--trainer.max_epochs", "5").code == 0
    assert record()["best"] == {"val_loss": 0.0}  # it is remembered
    assert record()["metrics"]["val_loss"] == 4.0


@pytest.mark.parametrize("words", [(), ("--trainer.num_sanity_val_steps", "0")])
def test_its_plateau_steps_after_validations(run: Train, words: tuple[str, ...]) -> None:
    rare = ("--trainer.check_val_every_n_epoch", "2", "--trainer.max_epochs", "7")
    result = run("Plateau", *rare, *words)
    assert (result.code, result.err) == (0, "")
    checkpoint = torch.load("logs/plain/a/checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["optimizer_states"][0]["param_groups"][0]["lr"] == 0.1 / 8
    shown = ["valid_acc" in line for line in result.out.splitlines() if line.startswith("epoch ")]
    assert shown == [False, True, False, True, False, True, False]


def test_a_file_that_lightning_cli_wrote(
    train: Train, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # what Lightning calls
    words = ["fit", f"--model={BORING}.BoringModel", f"--data={BORING}.BoringDataModule", "--print_config"]
    monkeypatch.setattr(sys, "argv", ["main.py", *words, "--trainer.max_epochs=1"])
    with pytest.raises(SystemExit):
        LightningCLI(subclass_mode_model=True, subclass_mode_data=True)
    Path("own.yaml").write_text(capsys.readouterr().out)
    assert "ckpt_path: null" in Path("own.yaml").read_text()
    result = train("--config", "own.yaml", "--run_name", "a", *PLAIN)
    assert (result.code, Path("logs/own/a/run.json").is_file()) == (0, True), result.err
    Path("own.yaml").write_text(f"model: {BORING}.BoringModel\ndata: {BORING}.BoringDataModule\nmax_epochs: 3")
    near = "error: 'max_epochs' is not a key of the configuration (did you mean trainer.max_epochs?)\n"
    assert train("--config", "own.yaml").err == near
    Path("own.yaml").write_text("model: {lr: 0.1}")  # LightningCLI(MyModule) names no class
    wanted = "error: model has no class_path; write that of a LightningModule, and its arguments under init_args\n"
    assert train("--config", "own.yaml").err == wanted
    Path("own.yaml").write_text(f"model: {{class_path: {BORING}.BoringModel, lr: 0.1}}")
    assert train("--config", "own.yaml").err == "error: model.lr: arguments stand under model.init_args\n"
    told = train("--config", DIGITS, "--data", f"{BORING}.BoringDataModule", "--data.num_classes", "null").err
    assert "cannot tell it from the data; write --model.net.num_classes N --model.metrics" in told


def test_own_loaders_overfit_and_replay(run: Train, train: Train) -> None:
    overfit = ("--config", str(CONFIGS / "overlays/overfit.yaml"))
    result = run("Words", "--data", "null", "--trainer.limit_train_batches", "1.0", *overfit)
    assert result.code == 0, result.err
    assert "the loss of one batch fell" in result.out
    assert run("TwoNets", "--run_name", "b", "--model.broken_batch", "8").code == 1
    replayed = train("replay", "--resume", "logs/plain/b", "--batch", "8")
    assert "the loss is finite, but after the step 1 weights are not: first.weight" in replayed.out


def test_hparams_hold_for_it(run: Train) -> None:
    assert run("Returns", "--model.what", "nothing").code == 0
    assert "_hparams_/session_start_info" in EventAccumulator("logs/plain/a").Reload().Tags()["tensors"]
    config = yaml.safe_load(Path("logs/plain/a/config.yaml").read_text())
    assert config["model"]["init_args"] == {"what": "nothing"}


@pytest.mark.parametrize("net", ["Layers", "two_layers"])
def test_defaults_that_no_configuration_can_hold_come_back_after_the_training(train: Train, net: str) -> None:
    """A network with objects as defaults, and a builder that chooses an argument: trained, continued, used."""
    words = (
        "--model.net",
        f"trainworks.tests.strangers.{net}",
        "--model.net.width",
        "12",
        "--run_name",
        "a",
        "--model.scheduler",
        "null",
    )
    result = train("fit", "--config", DIGITS, *words, "--trainer.max_epochs", "1")
    assert (result.code, result.err) == (0, "")
    config = yaml.safe_load(Path("logs/digits/a/config.yaml").read_text())
    stated = config["model"]["init_args"]["net"]
    more = {"depth": 1, "act": {"class_path": "torch.nn.Tanh"}} if net == "Layers" else {}
    assert stated == {"class_path": f"trainworks.tests.strangers.{net}", "init_args": {"width": 12, **more}}
    result = train("fit", "--config", DIGITS, *words, "--trainer.max_epochs", "2", "--resume", "auto")
    assert (result.code, result.err) == (0, "")
    assert "continues from" in result.out
    result = train("validate", "--config", DIGITS, "--run_name", "a")
    assert (result.code, result.err) == (0, "")
    module: Any = load_model("logs/digits/a/checkpoints/last.ckpt")
    assert [layer.eps for layer in module.net if isinstance(layer, torch.nn.LayerNorm)] == [0.5] * (1 if more else 2)


def test_a_loader_whose_arguments_have_no_names_is_told_what_to_write(
    run: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("Tested", "--data", "trainworks.tests.strangers.Unnamed", command="fit").code == 0
    monkeypatch.setattr(ResultWriter, "setup", lambda *given, **named: None)  # as on several devices
    result = run("Tested", "--data", "trainworks.tests.strangers.Unnamed", command="predict")
    assert (result.code, "Traceback" in result.err) == (2, False)
    assert "write DataLoader(dataset, batch_size=...)" in result.err


HYDRA = """
model:
  class_path: trainworks.tests.strangers.HydraStyle
  init_args:
    net:
      class_path: trainworks.tests.examples.networks.MLP
      init_args: {in_features: 64, num_classes: 10, hidden: [16]}
    optimizer: {class_path: torch.optim.Adam, init_args: {lr: 0.01}}
    scheduler: {class_path: torch.optim.lr_scheduler.ReduceLROnPlateau, init_args: {mode: max, patience: 1}}
callbacks: {best: {init_args: {monitor: val/acc_best, mode: max}}}
"""


def test_a_module_of_the_hydra_template_is_told_what_to_change(train: Train, tmp_path: Path) -> None:
    (tmp_path / "plain.yaml").write_text(DATA + HYDRA)
    result = train("fit", "--config", "plain.yaml", "--run_name", "a")
    assert (result.code, len(result.err.splitlines())) == (2, 1)
    assert (
        "model.init_args.optimizer: torch.optim.Adam needs params, which only your module has: annotate" in result.err
    )
    assert "lightning.pytorch.cli.OptimizerCallable" in result.err
    (tmp_path / "plain.yaml").write_text(DATA + HYDRA.replace("HydraStyle", "HydraStyleChanged"))
    result = train("--config", "plain.yaml", "--run_name", "a")
    assert (result.code, result.err) == (0, "")
    result = train("--config", "plain.yaml", "--run_name", "a", "--resume", "auto", "--trainer.max_epochs", "3")
    assert (result.code, result.err) == (0, "")
    assert "continues from" in result.out and "val/acc_best" in record()["metrics"]


CALLBACKS = {  # of Lightning: a default is a torch.device, a text could be a function, and keys are numbers
    "ModelPruning": ("pruning_fn", "l1_unstructured"),
    "StochasticWeightAveraging": ("swa_lrs", "0.01"),
    "GradientAccumulationScheduler": ("scheduling", "{0: 1, 1: 2}"),
}


@pytest.mark.parametrize("name", CALLBACKS)
def test_callbacks_of_lightning_come_back_when_a_run_goes_on(train: Train, name: str) -> None:
    argument, value = CALLBACKS[name]
    words = ("--callbacks.own", f"lightning.pytorch.callbacks.{name}", f"--callbacks.own.{argument}", value)
    words = (*words, "--callbacks.channels_last", "null")  # torch's pruning cannot take such weights
    result = train("fit", "--config", DIGITS, *words, *TWO, "--run_name", "a")
    assert (result.code, result.err) == (0, "")
    result = train("--resume", "logs/digits/a", "--trainer.max_epochs", "3")
    assert (result.code, result.err) == (0, "")
    assert re.search(r"continues from .*epoch [34]/", result.out, re.DOTALL)  # SWA adds one
