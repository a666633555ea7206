import logging
import os
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from trainworks.callbacks.helpers.batch import networks_of
from trainworks.errors import UsageError

Mode = Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]


class Compile(Callback):
    """Compile the module's networks in place, before a strategy wraps it, for training and evaluation alike.

    Checkpoints are those of the network as it is, so they go on, or are tested, with and without this callback. The
    first batch of each shape waits for the compiler: in training, in validation, and for a smaller last batch.

    Args:
        mode: What the compiler aims at; see torch.compile. "reduce-overhead" helps small steps on a GPU. The two
            "max-autotune" choose by timing, so another process may choose otherwise, and a resumed run is not exact.
        dynamic: Compile for any shape, where inputs differ in size from batch to batch. If not, each shape is compiled
            by itself, which does not depend on what came before: only so is a resumed run exact.
        fullgraph: Raise where the network cannot be compiled as a whole, instead of leaving that part as it is.
        part: Name of the part of the network to compile, such as layers.0. If left out: all of it, and of torchvision's
            detectors the backbone, since the rest depends on the boxes.
        backend: A backend of torch.compile. "eager" and "aot_eager" help to find out why a network fails.

    Raises:
        UsageError: If the module has no network or no such part, or a CPU's code cannot be compiled.
    """

    def __init__(
        self,
        mode: Mode = "default",
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
        """Compile the networks, once; the work is done when its first batch comes."""
        parts = [self._part(net) for net in networks_of(self, pl_module)]
        if trainer.strategy.root_device.type == "cpu" and self.backend == "inductor":
            _check_compiler()
        logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it warns of a missing GPU
        for part in parts:
            if not any(part is other for other in self._compiled):
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
    """Find out before the first batch whether generated code can be compiled."""
    if sys.platform == "win32":
        return  # there, torch looks in several places
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    advice = "or leave Compile out: --callbacks.compile null"
    if shutil.which(compiler) is None:
        raise UsageError(f"Compile: no C++ compiler, looked for {compiler}; install it, name one in CXX, {advice}")
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.is_file():
        raise UsageError(f"Compile: {header} is missing; install Python's development files, {advice}")
