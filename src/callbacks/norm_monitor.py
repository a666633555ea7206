import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from trainworks import send_scalars, steps_so_far


class NormMonitor(Callback):
    """Log the norms of gradients and weights every `trainer.log_every_n_steps` steps.

    Tags are norm/gradient (before clipping) and norm/weight, each over all parameters of an optimizer. With several
    optimizers the index of the optimizer is added, as in norm/gradient_0.
    """

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Log the norms."""
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        step = trainer.global_step if pl_module.automatic_optimization else trainer.fit_loop.total_batch_idx
        if not every or (step + 1) % every or not trainer.loggers:
            return
        if not trainer.is_global_zero and not isinstance(pl_module, FSDPModule):  # shards are on every rank
            return
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        gradients = [weight.grad for weight in weights if weight.grad is not None and not weight.grad.is_sparse]
        tensors = {"gradient": gradients, "weight": [weight.detach() for weight in weights]}
        norms = {name: torch.nn.utils.get_total_norm(values) for name, values in tensors.items()}
        number = f"_{trainer.optimizers.index(optimizer)}" if len(trainer.optimizers) > 1 else ""
        whole = {name: norm.full_tensor() if isinstance(norm, DTensor) else norm for name, norm in norms.items()}
        values = {f"norm/{name}{number}": float(norm) for name, norm in whole.items()}
        send_scalars(trainer, values, steps_so_far(trainer))
