"""Parameter groups, several optimizers, schedulers in lists."""

from typing import TYPE_CHECKING

from trainworks.lazy import hand_out

if TYPE_CHECKING:
    from trainworks.optim.optimizer_by_name import OptimizerByName as OptimizerByName
    from trainworks.optim.optimizer_by_name import OptimizerPart as OptimizerPart
    from trainworks.optim.parameters import Parameters as Parameters
    from trainworks.optim.parameters import build_optimizer as build_optimizer
    from trainworks.optim.schedulers import ChainedSchedulers as ChainedSchedulers
    from trainworks.optim.schedulers import SequentialSchedulers as SequentialSchedulers
    from trainworks.optim.schedulers import WarmupCosine as WarmupCosine
    from trainworks.optim.schedulers import build_scheduler as build_scheduler
    from trainworks.optim.schedulers import steps_per_batch as steps_per_batch

__getattr__, __dir__, __all__ = hand_out(__name__, __file__)
