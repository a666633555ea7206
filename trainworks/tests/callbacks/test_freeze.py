import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import ModelParallelStrategy

from trainworks.callbacks.freeze import FreezeRule, _check_strategy
from trainworks.errors import UsageError
from trainworks.tests.conftest import CONFIGS, DIGITS, QUICK, ROOT, Train
from trainworks.tests.examples.networks import SmallCNN
from trainworks.tests.test_exact_resume import NET, SHORT, STEPS, interrupted  # noqa: F401

FREEZE = ("--callbacks.freeze", "trainworks.callbacks.Freeze", "--callbacks.freeze.rules")
SMALL = ("--model.net.layers", "[4, M, 8]", "--model.net.dropout", "0.3", "--trainer.limit_train_batches", "4")
FIRST, SECOND = r"net.features.[02]\.", "net.features.[45]"  # convolution and batch norm each


def freeze(*rules: dict[str, Any]) -> tuple[str, ...]:
    return (*FREEZE, yaml.safe_dump(list(rules), default_flow_style=True, width=1000).strip())


class Watch(Callback):
    """Notes before each step what trains, and how the parameters and buffers change."""

    seen: list[dict[str, Any]]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            Watch.seen = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        Watch.seen.append(
            {
                "state": {name: value.clone() for name, value in pl_module.net.state_dict().items()},
                "still": {name for name, layer in pl_module.named_modules() if not layer.training},
                "grouped": sum(len(group["params"]) for group in trainer.optimizers[0].param_groups),
                "held": len([1 for value in trainer.optimizers[0].state.values() if value]),
            }
        )


WATCH = f"--callbacks.watch={__name__}.Watch"


def changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {name for name, value in before["state"].items() if not torch.equal(value, after["state"][name])}


FIRST_NAMES = {f"features.{name}" for name in ("0.weight", "2.weight", "2.bias")}
SECOND_NAMES = {f"features.{name}" for name in ("4.weight", "5.weight", "5.bias")}
HEAD = {"head.weight", "head.bias"}


def statistics(layer: int) -> set[str]:
    return {f"features.{layer}.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}


def test_each_layer_trains_from_its_epoch_or_step_on(train: Train) -> None:
    rules = freeze({"pattern": FIRST, "until_epoch": 2}, {"pattern": SECOND, "until_step": 6})
    words = ("--trainer.max_epochs", "3", "--trainer.val_check_interval", "2", WATCH)
    result = train("fit", "--config", DIGITS, *SMALL, *rules, *words)
    assert result.code == 0, result.err
    assert "frozen: 348 of 438 parameters; " in result.out
    assert f"{FIRST} until epoch 2, {SECOND} until step 6" in result.out
    seen = Watch.seen
    assert len(seen) == 12
    assert {step["grouped"] for step in seen} == {8}
    for number in range(11):
        expected = HEAD
        expected = expected | SECOND_NAMES | statistics(5) if number >= 6 else expected
        expected = expected | FIRST_NAMES | statistics(2) if number >= 8 else expected
        assert changed(seen[number], seen[number + 1]) == expected, number
    assert [step["held"] for step in seen[1:]] == [2] * 6 + [5] * 2 + [8] * 3
    still = {"net.features.0", "net.features.2"}
    assert [still <= step["still"] for step in seen] == [True] * 8 + [False] * 4
    assert not seen[-1]["still"]


def test_for_ever_and_layers_without_parameters(train: Train) -> None:
    rules = freeze({"pattern": r"net\.(?!head)"})
    result = train("fit", "--config", DIGITS, *SMALL, *rules, "--trainer.max_epochs", "1", WATCH)
    assert result.code == 0, result.err
    first, *_, last = Watch.seen
    assert changed(first, last) == HEAD
    assert first["grouped"] == 2
    assert {"net.dropout", "net.features.3", "net.features"} <= first["still"]
    assert not {"", "net", "net.head"} & first["still"]


def test_a_number_of_a_rule_can_be_typed(train: Train, tmp_path: Path) -> None:
    rules = {"rules": [{"pattern": "net.features", "until_epoch": 5}]}
    callbacks = {"freeze": {"class_path": "trainworks.callbacks.Freeze", "init_args": rules}}
    (tmp_path / "freeze.yaml").write_text(yaml.safe_dump({"callbacks": callbacks}))
    words = ("--trainer.max_epochs", "2", "--callbacks.freeze.rules.0.until_epoch", "1", WATCH)
    assert train("fit", "--config", DIGITS, "--config", "freeze.yaml", *SMALL, *words).code == 0
    assert [bool(step["still"]) for step in Watch.seen] == [True] * 4 + [False] * 4


@pytest.mark.kills
@pytest.mark.parametrize(
    ("optimizer", "bomb"),
    [("AdamW", "batch:5"), ("AdamW", "batch:12"), ("AdamW", "epoch_start:2"), ("SGD", "batch:10")],
)
def test_interrupted_before_and_after(
    interrupted: Callable[..., list[str]],  # noqa: F811
    optimizer: str,
    bomb: str,
) -> None:
    rules = freeze({"pattern": FIRST, "until_epoch": 1}, {"pattern": SECOND, "until_step": 11})
    chosen = ("--model.optimizer", f"torch.optim.{optimizer}", "--model.optimizer.lr", "0.005")
    shown = interrupted(DIGITS, *SHORT, *NET, *STEPS, *rules, *chosen, bombs=(bomb,))
    assert "continues from" in shown[-1]


def test_what_is_proposed_can_be_typed(train: Train) -> None:
    result = train("--config", DIGITS, *QUICK, *freeze({"pattern": "features.0|features.5"}))
    (proposed,) = re.findall(r"did you mean (\S+)\?\)", result.err)
    result = train("--config", DIGITS, *QUICK, *freeze({"pattern": proposed}))
    assert result.code == 0 and "frozen: " in result.out, result.err


MISTAKES = {
    "[{pattern: features}]": r"'features' matches the beginning of no .* name \(did you mean net\\.features\?\)",
    "[{pattern: '^head|features'}]": r"no parameter's name \(did you mean net\\.\(head\|features\)\?\)",
    "[{pattern: xyz}]": r"'xyz' matches the beginning of no parameter's name; the last is net.head.bias",
    "[{pattern: net.head.wieght}]": r"no parameter's name \(did you mean net.head.weight\?\)",
    "[{pattern: net}]": "Freeze: the rules match every parameter, so that nothing is left to train",
    "[{pattern: 'net.(', until_epoch: 1}]": r"Freeze: 'net.\(' is no regular expression: missing \)",
    "[{pattern: net.head, until_epoch: 0}]": r"until_epoch or until_step, at least 1, .* got 0 and None for net.head",
    "[{pattern: net.head, until_epoch: 1, until_step: 2}]": r"or neither for ever; got 1 and 2 for net.head",
    "[{patern: net.head}]": r"FreezeRule takes no 'patern' \(did you mean pattern\?\)",
    "[{until_epoch: 2}]": r"FreezeRule needs pattern; write a value for it|pattern.* is required",
}


@pytest.mark.parametrize("rules", MISTAKES)
def test_one_short_message(train: Train, rules: str) -> None:
    result = train("fit", "--config", DIGITS, *FREEZE, rules)
    assert result.code == 2
    assert re.search(MISTAKES[rules], result.err), result.err
    assert "Traceback" not in result.err


def test_when_a_rule_holds() -> None:
    for_ever, epochs, steps = FreezeRule("a"), FreezeRule("a", until_epoch=2), FreezeRule("a", until_step=7)
    assert [rule.is_active(1, 7) for rule in (for_ever, epochs, steps)] == [True, True, False]
    assert [rule.is_active(2, 6) for rule in (for_ever, epochs, steps)] == [True, False, True]
    assert FreezeRule("net.f").matches("net.features.0.weight") and not FreezeRule("features").matches(
        "net.features.0.weight"
    )


class SameOnAllRanks(Callback):
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for name, parameter in pl_module.net.named_parameters():
            parts = [torch.empty_like(parameter) for _ in range(trainer.world_size)]
            dist.all_gather(parts, parameter.detach())
            assert torch.equal(parts[0], parts[1]), name
        if trainer.is_global_zero:
            print("the same on all ranks")


def test_strategies_that_cannot_add_parameters_later() -> None:
    for_ever, later = [FreezeRule("a")], [FreezeRule("a"), FreezeRule("b", until_epoch=1)]
    for strategy in ("ddp", ModelParallelStrategy()):
        trainer = Trainer(accelerator="cpu", devices=2, strategy=strategy, logger=False, enable_checkpointing=False)
        _check_strategy(trainer, for_ever)
        if strategy == "ddp":
            _check_strategy(trainer, later)
            assert trainer.strategy._ddp_kwargs["find_unused_parameters"]
            continue
        with pytest.raises(UsageError, match=r"need one device or trainer.strategy ddp, got ModelParallelStrategy"):
            _check_strategy(trainer, later)


@pytest.mark.two_processes
def test_two_processes(train_process: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    rules = freeze({"pattern": FIRST, "until_epoch": 1}, {"pattern": r"net.features.4"})
    two = ("--trainer.accelerator", "cpu", "--trainer.devices", "2", f"--callbacks.same={__name__}.SameOnAllRanks")
    two += ("--config", str(CONFIGS / "overlays/ddp.yaml"), "--trainer.max_epochs", "2", "--run_name", "a")
    first = SmallCNN(1, 10, [4, "M", 8])
    torch.save(first.state_dict(), tmp_path / "first.pt")
    start = ("--callbacks.init_from", "trainworks.callbacks.InitFrom", "--callbacks.init_from.path", "first.pt")
    result = train_process("fit", "--config", DIGITS, *SMALL, *start, *rules, *two)
    assert result.code == 0, result.err
    for line in ("weights: 14 of 14 tensors of SmallCNN from first.pt", "frozen: 332 of", "the same on all ranks"):
        assert result.out.count(line) == 1, line
    names = ("last-1", "last")  # after the first epoch, and after the second
    files = [tmp_path / "logs/digits/a/checkpoints" / f"{name}.ckpt" for name in names]
    begun, ended = (torch.load(file, weights_only=True)["state_dict"] for file in files)
    assert not torch.equal(begun["net.features.0.weight"], ended["net.features.0.weight"])
    assert torch.equal(ended["net.features.4.weight"], first.features[4].weight)
