import logging
import os
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from trainworks.callbacks.helpers.networks import networks_of
from trainworks.errors import UsageError


class Compile(Callback):
    """Compile the module's networks in place with torch.compile, for training and evaluation alike.

    Names in checkpoints stay the same, so a run can be continued or tested with or without this callback. The first
    batch of each shape waits for the compiler: in training, in validation, and for a smaller last batch.

    Args:
        mode: Goal of the compiler; see torch.compile. "reduce-overhead" helps small steps on a GPU. The two
            "max-autotune" choose by timing, so another process may choose otherwise, and a resumed run is not exact.
        dynamic: Whether to compile for any shape, for inputs that differ in size from batch to batch. Otherwise each
            shape is compiled by itself, independently of earlier ones: only then is a resumed run exact.
        fullgraph: Whether to raise an error if the network cannot be compiled as a whole, instead of running the rest
            uncompiled.
        part: Name of the part of the network to compile, such as layers.0. By default it is the whole network, and of
            torchvision's detectors the backbone, since the rest depends on the boxes.
        backend: A backend of torch.compile. "eager" and "aot_eager" help to find out why a network fails.

    Raises:
        UsageError: If the module has no network or no such part, or a CPU's code cannot be compiled.
    """

    def __init__(
        self,
        mode: Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] = "default",
        dynamic: bool = False,
        fullgraph: bool = False,
        part: str | None = None,
        backend: str = "inductor",
    ) -> None:
        self.part, self.backend = part, backend
        self._compiled: list[nn.Module] = []
        self.options: dict[str, Any] = {"dynamic": dynamic, "fullgraph": fullgraph, "backend": backend}
        if backend == "inductor":
            self.options["mode"] = mode  # the others take none

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Wrap the networks once, before a strategy wraps the module; their first batch is what compiles them."""
        parts = [self._part(net) for net in networks_of(self, pl_module)]
        if trainer.strategy.root_device.type == "cpu" and self.backend == "inductor":
            _check_compiler()
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it warns of a missing GPU
        for part in parts:
            if part not in self._compiled:
                part.compile(**self.options)
                self._compiled.append(part)

    def _part(self, net: nn.Module) -> nn.Module:
        is_detector = type(net).__module__.startswith("torchvision.models.detection")
        name = self.part if self.part is not None else "backbone" if is_detector else ""
        try:
            return net.get_submodule(name)
        except AttributeError:
            names = ", ".join(name for name, _ in net.named_children())
            raise UsageError(f"callbacks.compile.part: {type(net).__name__} has no '{name}'; it has {names}") from None


def _check_compiler() -> None:
    """Check before the first batch that there is a C++ compiler and Python's header."""
    if sys.platform == "win32":
        return  # torch looks in several places there
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    advice = "or leave Compile out: --callbacks.compile null"
    if shutil.which(compiler) is None:
        raise UsageError(f"Compile: no C++ compiler, looked for {compiler}; install it, name one in CXX, {advice}")
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.is_file():
        raise UsageError(f"Compile: {header} is missing; install Python's development files, {advice}")
