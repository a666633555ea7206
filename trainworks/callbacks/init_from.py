from lightning.pytorch import Callback, LightningModule, Trainer


class InitFrom(Callback):
    """Begin a training with weights that were trained before, and print which of them were taken.

    Those whose name and shape fit the network go into it; a head for another number of classes stays new. A run that
    continues (`--resume`) takes its own weights and never looks at this file.

    Args:
        path: A state_dict (.pt, .pth, .safetensors) or a checkpoint, of this project or another; the URL of one; or
            torchvision's name of weights, such as ResNet18_Weights.DEFAULT.

    Raises:
        UsageError: If the file cannot be read, or no weights in it fit.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._report: list[str] | None = None  # None until the weights are loaded, empty when it was printed

    def load(self, module: LightningModule) -> None:
        """Load the weights into `module.net`, or the module itself if it has none; the second time do nothing."""
        if self._report is None:
            from trainworks.runs.weights import load_weights  # only where there are weights to load

            self._report = load_weights(getattr(module, "net", module), self.path)

    def before_data(self, trainer: Trainer, pl_module: LightningModule, begins: bool) -> None:
        """Load as soon as the network is there, so that a wrong file is found before the data is read.

        A training that does not begin but continues has its own weights, and the callback goes.
        """
        if begins:
            self.load(pl_module)
        else:
            trainer.callbacks.remove(self)  # type: ignore[attr-defined]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Load, if the command line has not done so before the data was read, and say what was loaded."""
        if stage == "fit":
            self.load(pl_module)
            if self._report and trainer.is_global_zero:
                print("\n".join(self._report))
            self._report = []
