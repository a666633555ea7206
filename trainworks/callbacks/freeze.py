import math
import re
from dataclasses import dataclass
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from trainworks.errors import UsageError, did_you_mean


@dataclass
class FreezeRule:
    """Parameters that are held still, and for how long.

    Args:
        pattern: Regular expression for the beginning of their names in the module, such as `net.features`.
        until_epoch: They train from this epoch on, counted from 0.
        until_step: They train from this optimizer step on. Without either they never do.
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
        self.ends = bool(ends)
        if len(ends) > 1 or min(ends, default=1) < 1:
            got = f"got {self.until_epoch} and {self.until_step} for {self.pattern}"
            raise ValueError(f"Freeze: write until_epoch or until_step, at least 1, or neither for ever; {got}")

    def __str__(self) -> str:
        step = f"until step {self.until_step}" if self.until_step else "for ever"
        return f"{self.pattern} " + (f"until epoch {self.until_epoch}" if self.until_epoch else step)

    def holds(self, epoch: int, step: int) -> bool:
        """Whether it still holds."""
        return epoch < (self.until_epoch or math.inf) and step < (self.until_step or math.inf)

    def fits(self, name: str) -> bool:
        """Whether it is about this parameter or layer."""
        return re.match(self.pattern, name) is not None


class Freeze(Callback):
    """Hold parameters still, for some time or for ever.

    A frozen layer works as in evaluation: batch norm keeps its statistics, dropout drops nothing. A layer is frozen if
    all its parameters are, or, where it has none, if a rule fits its name. What is frozen depends on epoch and step
    alone, so that a run continues exactly. Parameters that train later are in the optimizer from the start, which
    passes over those without a gradient; those that never train are not in it.

    Args:
        rules: A parameter is frozen while any rule that fits its name holds.

    Raises:
        UsageError: If a rule fits nothing, nothing is left to train, or the strategy cannot add parameters later.
    """

    def __init__(self, rules: list[FreezeRule]) -> None:
        self.rules = rules
        self._trained: set[str] = set()  # parameters that would train without this callback
        self._still: set[str] = set()  # layers in evaluation mode
        self._held: list[FreezeRule] | None = None  # the rules that were applied last

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the rules, and freeze for ever what never trains: neither optimizer nor DDP shall know of it."""
        if stage != "fit":
            return
        names = {name: parameter for name, parameter in pl_module.named_parameters() if parameter.requires_grad}
        for rule in self.rules:
            if not any(map(rule.fits, names)):
                near = did_you_mean(rule.pattern, names) or f"; the last is {list(names)[-1]}"
                raise UsageError(f"Freeze: '{rule.pattern}' fits the beginning of no parameter's name{near}")
        frozen = {name for name in names if _fit(self.rules, name)}
        if len(frozen) == len(names):
            raise UsageError("Freeze: the rules fit every parameter, so that nothing is left to train; leave some out")
        _check_strategy(trainer, self.rules)
        self._trained, self._held = set(names), None
        for_ever = [rule for rule in self.rules if not rule.ends]
        for name, parameter in names.items():
            parameter.requires_grad_(not _fit(for_ever, name))
        if trainer.is_global_zero:
            numbers = [sum(names[name].numel() for name in part) for part in (frozen, names)]
            print(f"frozen: {numbers[0]:,} of {numbers[1]:,} parameters; {', '.join(map(str, self.rules))}")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Freeze the rest, now that the optimizer has it; later let go what trains from this epoch or step on."""
        held = [rule for rule in self.rules if rule.holds(trainer.current_epoch, trainer.global_step)]
        if held != self._held:
            self._hold(pl_module, held)

    on_train_epoch_start = on_train_batch_start = on_train_start  # type: ignore[assignment]

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the module as it was."""
        if stage == "fit":
            self._hold(pl_module, [])

    def _hold(self, module: LightningModule, rules: list[FreezeRule]) -> None:
        """Apply these rules and no others."""
        self._held = rules
        frozen = {name for name in self._trained if _fit(rules, name)}
        for name, parameter in module.named_parameters():
            if name in self._trained:
                parameter.requires_grad_(name not in frozen)
        for name, layer in module.named_modules():
            below = {key for key, _ in layer.named_parameters(prefix=name)}
            still = (below & self._trained) <= frozen if below & self._trained else not below and _fit(rules, name)
            if still:
                layer.training = False
                self._still.add(name)
            elif name in self._still:
                layer.training = True
                self._still.remove(name)


def _fit(rules: list[FreezeRule], name: str) -> bool:
    return any(rule.fits(name) for rule in rules)


def _check_strategy(trainer: Trainer, rules: list[FreezeRule]) -> None:
    """See that parameters may begin to train later: DDP must ask in each step which gradients it has to wait for."""
    strategy = trainer.strategy
    if not any(rule.ends for rule in rules) or isinstance(strategy, SingleDeviceStrategy):
        return
    if not isinstance(strategy, DDPStrategy):
        got = f"got {type(strategy).__name__}; without until_epoch and until_step it will do"
        raise UsageError(f"Freeze: parameters that train later need one device or trainer.strategy ddp, {got}")
    strategy._ddp_kwargs["find_unused_parameters"] = True
