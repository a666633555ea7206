from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch.nn.modules.batchnorm import _BatchNorm

from trainworks.errors import UsageError


def settle_strategy(trainer: Trainer, module: LightningModule, sync_batchnorm: bool) -> None:
    """Let DDP wait for some gradients only where a module optimizes by hand; refuse what does not work."""
    strategy = trainer.strategy
    if getattr(strategy, "_start_method", "popen") not in ("popen", None):
        raise UsageError("trainer.strategy: a copied process cannot take over the run's lock and signals; write ddp")
    if isinstance(strategy, DDPStrategy) and not module.automatic_optimization:
        strategy._ddp_kwargs["find_unused_parameters"] = True  # each backward pass has gradients for some only
    works = strategy.root_device.type != "cpu" and isinstance(strategy, DDPStrategy)
    if sync_batchnorm and not works and any(isinstance(layer, _BatchNorm) for layer in module.modules()):
        got = f"{type(strategy).__name__} on {strategy.root_device.type}"
        raise UsageError(f"trainer.sync_batchnorm needs GPUs and the strategy ddp, got {got}; leave it false")


def check_start_method(strategy: object) -> None:
    """Temporary."""
