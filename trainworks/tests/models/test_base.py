import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

from trainworks.errors import UsageError
from trainworks.models.base import BaseModule
from trainworks.models.running_mean import RunningMean
from trainworks.optim import WarmupCosine
from trainworks.tests.conftest import DIGITS, PLAIN, Train
from trainworks.tests.examples.classifier import ClassifierModule
from trainworks.tests.examples.networks import MLP


def make_module(**arguments: Any) -> ClassifierModule:
    sgd = partial(torch.optim.SGD, lr=0.1)
    metrics = {"accuracy": MulticlassAccuracy(3, average="micro", validate_args=False)}
    return ClassifierModule(
        MLP(4, 3, [8]), nn.CrossEntropyLoss(), **{"optimizer": sgd, "metrics": metrics, **arguments}
    )


def make_loader(batch_size: int = 8) -> DataLoader[Any]:
    torch.manual_seed(0)
    return DataLoader(TensorDataset(torch.randn(40, 4), torch.arange(40) % 3), batch_size)


def make_trainer(**arguments: Any) -> Trainer:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(**{"accelerator": "cpu", "max_epochs": 2, **quiet, **arguments})


pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",
    "ignore:.*LeafSpec",
    "ignore:.*smaller than the logging interval",
    "ignore:.*no `val_dataloader`",
)


def test_logged_values_are_means_over_all_samples() -> None:
    module, trainer, loader = make_module(), make_trainer(), make_loader(batch_size=16)  # the last batch has 8
    (logged,) = trainer.validate(module, loader, verbose=False)
    images, targets = loader.dataset.tensors  # type: ignore[attr-defined]
    logits = module.eval()(images).detach()
    assert logged["val/loss"] == pytest.approx(float(nn.functional.cross_entropy(logits, targets)))
    assert logged["val/accuracy"] == pytest.approx(float((logits.argmax(1) == targets).float().mean()))


def test_the_loss_of_several_heads_is_the_mean_over_samples() -> None:
    class TwoHeads(ClassifierModule):
        def step(self, batch: Any) -> tuple[Tensor, Any, Any]:
            loss, logits, targets = super().step(batch)
            return loss, {"kind": logits, "size": logits}, {"kind": targets, "size": targets}

    module, loader = TwoHeads(MLP(4, 3, [8]), nn.CrossEntropyLoss()), make_loader(batch_size=16)  # the last has 8
    (logged,) = make_trainer().validate(module, loader, verbose=False)
    images, targets = loader.dataset.tensors  # type: ignore[attr-defined]
    expected = nn.functional.cross_entropy(module.eval()(images), targets)
    assert logged["val/loss"] == pytest.approx(float(expected.detach()))


def test_training_sums_survive_validation_inside_the_epoch() -> None:
    class Collect(Callback):
        losses: list[float] = []  # noqa: RUF012

        def on_train_batch_end(self, trainer: Trainer, module: Any, outputs: Any, *_: Any) -> None:
            self.losses.append(float(outputs["loss"]))

    trainer = make_trainer(max_epochs=1, val_check_interval=2, callbacks=[Collect()])
    trainer.fit(make_module(), make_loader(), make_loader())
    losses = trainer.callbacks[0].losses  # type: ignore[attr-defined]
    assert float(trainer.callback_metrics["train/loss"]) == pytest.approx(sum(losses) / len(losses))


def test_every_logged_name_is_announced() -> None:
    module, trainer = make_module(), make_trainer(max_epochs=1)
    trainer.fit(module, make_loader(), make_loader())
    assert set(trainer.callback_metrics) == {*module.metric_names("train"), *module.metric_names("val")}
    without = make_module(train_metrics=False)
    assert without.metric_names("train") == ["train/loss"]
    assert without.metric_names("val") == ["val/loss", "val/accuracy"]
    assert make_module(metrics=None).metric_names("test") == ["test/loss"]


@pytest.mark.parametrize(
    ("scheduler", "arguments", "interval"),
    [
        (partial(lr_scheduler.OneCycleLR, max_lr=0.1), {}, "step"),
        (WarmupCosine, {}, "step"),
        (partial(lr_scheduler.StepLR, step_size=1), {}, "epoch"),
        (partial(lr_scheduler.StepLR, step_size=1), {"scheduler_interval": "step"}, "step"),
        (lr_scheduler.ReduceLROnPlateau, {"scheduler_monitor": "train/loss"}, "epoch"),
    ],
)
def test_schedulers_step_when_they_should(scheduler: Any, arguments: dict[str, str], interval: str) -> None:
    module, trainer = make_module(scheduler=scheduler, **arguments), make_trainer()
    trainer.fit(module, make_loader(), make_loader())
    (config,) = trainer.lr_scheduler_configs
    assert config.interval == interval
    assert config.scheduler.last_epoch == (10 if interval == "step" else 2)
    if config.reduce_on_plateau:
        assert config.monitor == "train/loss"
        assert config.scheduler.best == pytest.approx(float(trainer.callback_metrics["train/loss"]))


def test_total_steps_come_from_the_trainer() -> None:
    module, trainer = make_module(scheduler=WarmupCosine), make_trainer(accumulate_grad_batches=2)
    trainer.fit(module, make_loader(), make_loader())
    assert trainer.lr_scheduler_configs[0].scheduler.total_steps == 6  # 3 steps in each of 2 epochs


def test_lbfgs_trains_through_its_closure() -> None:
    factory = partial(torch.optim.LBFGS, lr=0.5, line_search_fn="strong_wolfe")
    module, trainer, loader = make_module(optimizer=factory), make_trainer(max_epochs=1), make_loader(40)
    before = trainer.validate(module, loader, verbose=False)[0]["val/loss"]
    trainer.fit(module, loader)
    assert make_trainer().validate(module, loader, verbose=False)[0]["val/loss"] < 0.9 * before


def test_the_best_checkpoint_holds_the_average_that_an_optimizer_shows(train: Train, tmp_path: Path) -> None:
    words = (
        "--model.optimizer",
        "trainworks.tests.strangers.Averaging",
        "--model.scheduler",
        "null",
        "--run_name",
        "a",
    )
    result = train("--config", DIGITS, *words, "--trainer.max_epochs", "2", *PLAIN)
    assert result.code == 0, result.err
    best = torch.load(tmp_path / "logs/digits/a/checkpoints/best.ckpt", weights_only=True)
    assert [group["train_mode"] for group in best["optimizer_states"][0]["param_groups"]] == [False]
    record = json.loads((tmp_path / "logs/digits/a/run.json").read_text())
    again = train("validate", "--config", DIGITS, "--run_name", "a")
    assert float(re.findall(r"val/loss +(\S+)", again.out)[0]) == pytest.approx(record["best"]["val/loss"], abs=1e-4)


def test_no_step_waits_for_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values are read once an epoch; a read in every step would stall a GPU."""
    reads = []
    for name in ("item", "__float__", "__bool__", "tolist", "cpu", "numpy"):
        original = getattr(torch.Tensor, name)

        def counted(self: torch.Tensor, *words: Any, _original: Any = original, _name: str = name, **named: Any) -> Any:
            reads.append(_name)
            return _original(self, *words, **named)

        monkeypatch.setattr(torch.Tensor, name, counted)
    counts = []
    for batches in (5, 35):
        reads.clear()
        loader = DataLoader(TensorDataset(torch.randn(batches * 8, 4), torch.arange(batches * 8) % 3), 8)
        make_trainer(max_epochs=1).fit(make_module(), loader)
        counts.append(len(reads))
    assert counts[0] == counts[1]


def test_a_metric_cannot_take_the_name_of_the_loss() -> None:
    with pytest.raises(ValueError, match="'loss' is logged already"):
        make_module(metrics={"loss": MulticlassAccuracy(3)})


def test_running_mean_weighs_by_count() -> None:
    mean = RunningMean()
    assert torch.isnan(mean.compute(lambda sums, reduce_op: sums))
    mean.update(torch.tensor(1.0), 3)
    mean.update(torch.tensor(5.0), 1)
    assert float(mean.compute(lambda sums, reduce_op: sums)) == 2.0
    assert float(mean.compute(lambda sums, reduce_op: sums + torch.tensor([0.0, 4.0]))) == 1.0
    mean.reset()
    assert torch.isnan(mean.compute(lambda sums, reduce_op: sums))


@pytest.mark.reach
@pytest.mark.parametrize("precision", ["64-true", "bf16-true"])
def test_what_transforms_make_has_the_precision_of_the_weights(train: Train, precision: str) -> None:
    words = ("--trainer.max_epochs", "1", "--trainer.limit_train_batches", "2", "--run_name", "a")
    result = train("--config", DIGITS, *words, "--trainer.precision", precision, "--trainer.accelerator", "cpu")
    assert (result.code, result.err, "could not be drawn" in result.out) == (0, "", False)
    weights = torch.load("logs/digits/a/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert weights["net.head.weight"].dtype == {"64-true": torch.float64, "bf16-true": torch.bfloat16}[precision]


@pytest.mark.parametrize("name", ["", "1.5", ".inf", "a.b"])
def test_a_metric_needs_a_name_that_torch_takes(name: str) -> None:
    message = re.escape(f"model.metrics: a metric cannot be called '{name}'; choose a name without dots")
    with pytest.raises(ValueError, match=message):
        make_module(metrics={name: MulticlassAccuracy(3)})


@pytest.mark.parametrize(("returned", "got"), [((1, 2), "2 values"), (torch.tensor(1.0), "Tensor"), (None, "NoneType")])
def test_a_step_that_returns_something_else_is_named(returned: Any, got: str) -> None:
    class Other(BaseModule):
        def step(self, batch: Any) -> Any:
            return returned

    with pytest.raises(UsageError, match=rf"Other\.step must return loss, predictions and targets, got {got}"):
        Other().training_step(None, 0)
