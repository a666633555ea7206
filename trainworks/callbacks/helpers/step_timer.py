import time
from collections import defaultdict

import torch
from lightning.pytorch.profilers import Profiler

PARTS = {  # the ends of Lightning's names for what it does
    "train_dataloader_next": "data",
    "batch_to_device": "transfer",
    "training_step": "forward",
    "backward": "backward",
    "optimizer_step": "optimizer",
}


class StepTimer(Profiler):
    """Times the parts of single training steps; it stands in for the trainer's profiler while one is measured.

    They are data (waiting for the loader), transfer (copy to the device and batch transforms), forward, backward,
    optimizer and other.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.num_steps = 0
        self._begun: dict[str, float] = {}
        self._step = 0.0

    def start(self, action_name: str) -> None:
        """Begin a part."""
        if action_name.rpartition(".")[2] in PARTS:
            self._begun[action_name] = self._now()

    def stop(self, action_name: str) -> None:
        """End a part."""
        if action_name not in self._begun:
            return
        seconds = self._now() - self._begun.pop(action_name)
        self.seconds[PARTS[action_name.rpartition(".")[2]]] += seconds
        if self._begun:  # the optimizer's step calls forward and backward; a step by hand calls both others
            self.seconds[PARTS[next(reversed(self._begun)).rpartition(".")[2]]] -= seconds

    def begin_step(self) -> None:
        """Begin a step, when the one before has ended."""
        self._step = self._now()

    def end_step(self) -> None:
        """End a step."""
        self.seconds["step"] += self._now() - self._step
        self.num_steps += 1

    def shares(self) -> dict[str, float]:
        """Return the share of each part in the steps measured; together they are 1."""
        seconds = self.seconds
        parts = {name: seconds[name] for name in PARTS.values()}
        parts["other"] = max(seconds["step"] - sum(parts.values()), 0.0)
        whole = sum(parts.values()) or 1.0
        return {name: part / whole for name, part in parts.items()}

    def _now(self) -> float:
        if self.device.type == "cuda":  # what was only launched must be done
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
