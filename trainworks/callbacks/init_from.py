from lightning.pytorch import Callback, LightningModule, Trainer


class InitFrom(Callback):
    """Begin a training with pretrained weights, and print which of them were loaded.

    Weights whose name and shape match the network are loaded, see also `trainworks.models.with_channels`; a head for
    other classes stays new. A run that continues (`--resume`) loads its own weights and never reads this file.

    Args:
        path: A state_dict (.pt, .pth, .safetensors) or a checkpoint, of any project; the URL of one; or torchvision's
            name of weights, such as ResNet18_Weights.DEFAULT.
        file_prefix: How the names of the wanted weights begin in the file, such as `encoder`; found if left out.
        network_prefix: How the names that they become begin in the network, such as `backbone`.

    Raises:
        UsageError: If the file cannot be read, or none of its weights match.
    """

    def __init__(self, path: str, file_prefix: str | None = None, network_prefix: str | None = None) -> None:
        self.path, self.file_prefix, self.network_prefix = path, file_prefix, network_prefix
        self._report: list[str] | None = None  # None until the weights are loaded, empty once it was printed

    def load(self, module: LightningModule) -> None:
        """Load the weights into `module.net`, or the module itself if it has no `net`; do nothing the second time."""
        if self._report is None:
            from trainworks.runs.weights import load_weights

            net = getattr(module, "net", module)
            self._report = load_weights(net, self.path, self.file_prefix, self.network_prefix)

    def before_data(self, trainer: Trainer, pl_module: LightningModule, begins: bool) -> None:
        """Load as soon as the network is there, so that a wrong file is found before the data is read.

        A training that does not begin but continues has its own weights, and the callback goes.
        """
        if begins:
            self.load(pl_module)
        else:
            trainer.callbacks.remove(self)  # type: ignore[attr-defined]

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Load the weights, unless the command line has done so already, and print the report."""
        if stage == "fit":
            self.load(pl_module)
            if self._report and trainer.is_global_zero:
                print("\n".join(self._report))
            self._report = []
