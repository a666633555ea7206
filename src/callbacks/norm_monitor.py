import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer


class NormMonitor(Callback):
    """Log the norms of gradients and weights every `trainer.log_every_n_steps` steps.

    Tags are norm/gradient (before clipping) and norm/weight, each over all parameters of an optimizer.
    """

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Log the norms."""
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if not every or (trainer.global_step + 1) % every or not trainer.loggers or not trainer.is_global_zero:
            return
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        gradients = [weight.grad for weight in weights if weight.grad is not None and not weight.grad.is_sparse]
        norms = torch.stack(
            [torch.nn.utils.get_total_norm(values) for values in (gradients, [weight.detach() for weight in weights])]
        )
        gradient, weight = norms.tolist()  # read together
        step = trainer.fit_loop.epoch_loop._batches_that_stepped
        for logger in trainer.loggers:
            logger.log_metrics({"norm/gradient": gradient, "norm/weight": weight}, step=step)
