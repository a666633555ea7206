import math
import re
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from trainworks.errors import UsageError, did_you_mean


@dataclass
class FreezeRule:
    """Which parameters are frozen, and for how long.

    Args:
        pattern: Regular expression for the beginning of their names in the module, such as `net.features`.
        until_epoch: They train from this epoch on, counted from 0.
        until_step: They train from this optimizer step on. Without either they stay frozen.
    """

    pattern: str
    until_epoch: int | None = None
    until_step: int | None = None

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(f"Freeze: '{self.pattern}' is no regular expression: {error}") from None
        ends = [end for end in (self.until_epoch, self.until_step) if end is not None]
        self.is_temporary = bool(ends)
        if len(ends) > 1 or min(ends, default=1) < 1:
            got = f"got {self.until_epoch} and {self.until_step} for {self.pattern}"
            raise ValueError(f"Freeze: write until_epoch or until_step, at least 1, or neither for ever; {got}")

    def __str__(self) -> str:
        step = f"until step {self.until_step}" if self.until_step else "for ever"
        return f"{self.pattern} " + (f"until epoch {self.until_epoch}" if self.until_epoch else step)

    def is_active(self, epoch: int, step: int) -> bool:
        """Whether the parameters are frozen in this epoch and step."""
        return epoch < (self.until_epoch or math.inf) and step < (self.until_step or math.inf)

    def matches(self, name: str) -> bool:
        """Whether the pattern matches the name of this parameter or layer."""
        return re.match(self.pattern, name) is not None


class Freeze(Callback):
    """Freeze parameters, for some epochs or steps or for the whole training.

    A frozen layer is in eval mode: batch norm keeps its statistics, dropout drops nothing. A layer is frozen if all its
    parameters are, or, if it has none, if a rule matches its name. What is frozen depends on epoch and step alone, so
    that a run continues exactly. Parameters that train later are in the optimizer from the start, which skips those
    without a gradient; parameters that never train are not in it.

    Args:
        rules: A parameter is frozen while any rule that matches its name is active.

    Raises:
        UsageError: If a rule matches nothing, nothing is left to train, or the strategy cannot add parameters later.
    """

    def __init__(self, rules: list[FreezeRule]) -> None:
        self.rules = rules
        self._trainable: set[str] = set()  # names of the parameters that would train without this callback
        self._eval_layers: set[str] = set()  # names of the layers in eval mode
        self._applied: list[FreezeRule] | None = None  # the rules that were applied last

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the rules, and freeze what never trains, so that neither the optimizer nor DDP takes it."""
        if stage != "fit":
            return
        names = {name: parameter for name, parameter in pl_module.named_parameters() if parameter.requires_grad}
        for rule in self.rules:
            if not any(map(rule.matches, names)):
                pattern = (
                    f"({rule.pattern.removeprefix('^')})" if "|" in rule.pattern else rule.pattern.removeprefix("^")
                )
                inner = next(filter(None, (re.match(rf"(.*?\.){pattern}", name) for name in names)), None)
                near = f" (did you mean {re.escape(inner[1])}{pattern}?)" if inner else did_you_mean(pattern, names)
                near = near or f"; the last is {list(names)[-1]}"
                raise UsageError(f"Freeze: '{rule.pattern}' matches the beginning of no parameter's name{near}")
        frozen = {name for name in names if _any_matches(self.rules, name)}
        if len(frozen) == len(names):
            raise UsageError("Freeze: the rules match every parameter, so that nothing is left to train; remove some")
        _check_strategy(trainer, self.rules)
        self._trainable, self._applied = set(names), None
        permanent = [rule for rule in self.rules if not rule.is_temporary]
        for name, parameter in names.items():
            parameter.requires_grad_(not _any_matches(permanent, name))
        if trainer.is_global_zero:
            counts = [sum(names[name].numel() for name in part) for part in (frozen, names)]
            print(f"frozen: {counts[0]:,} of {counts[1]:,} parameters; {', '.join(map(str, self.rules))}")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Apply the rules that are active in this epoch and step, now that the optimizer has all parameters."""
        active = [rule for rule in self.rules if rule.is_active(trainer.current_epoch, trainer.global_step)]
        if active != self._applied:
            self._apply(pl_module, active)

    on_train_epoch_start = on_train_batch_start = on_train_start  # type: ignore[assignment]

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restore the module."""
        if stage == "fit":
            self._apply(pl_module, [])

    def _apply(self, module: LightningModule, rules: list[FreezeRule]) -> None:
        """Freeze what these rules match, and nothing else."""
        self._applied = rules
        frozen = {name for name in self._trainable if _any_matches(rules, name)}
        for name, parameter in module.named_parameters():
            if name in self._trainable:
                parameter.requires_grad_(name not in frozen)
        for name, layer in module.named_modules():
            parameters = {key for key, _ in layer.named_parameters(prefix=name)}
            trainable = parameters & self._trainable
            if trainable <= frozen if trainable else not parameters and _any_matches(rules, name):
                layer.training = False
                self._eval_layers.add(name)
            elif name in self._eval_layers:
                layer.training = True
                self._eval_layers.remove(name)


def _any_matches(rules: list[FreezeRule], name: str) -> bool:
    return any(rule.matches(name) for rule in rules)


def _check_strategy(trainer: Trainer, rules: list[FreezeRule]) -> None:
    """Let parameters begin to train later: DDP must then find in each step which gradients it has to wait for."""
    strategy = trainer.strategy
    if not any(rule.is_temporary for rule in rules) or isinstance(strategy, SingleDeviceStrategy):
        return
    if not isinstance(strategy, DDPStrategy):
        got = f"got {type(strategy).__name__}; leave until_epoch and until_step out, or change the strategy"
        raise UsageError(f"Freeze: parameters that train later need one device or trainer.strategy ddp, {got}")
    strategy._ddp_kwargs["find_unused_parameters"] = True
