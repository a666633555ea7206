from typing import Any

import torch
import torch.distributed as dist


class Agreement:
    """Lets all ranks act at the same batch on what only one of them may know, without waiting in a step.

    Each step's wish is exchanged in the background and its greatest value looked at one step later.
    """

    def __init__(self) -> None:
        self.group: Any = dist.new_group(backend="gloo")  # of its own, on the CPU
        self._work: Any = None
        self._value = torch.tensor(0)

    def exchange(self, wish: int) -> int:
        """Offer this rank's wish and return the greatest of all ranks' last ones."""
        agreed = 0
        if self._work is not None:
            self._work.wait()
            agreed = int(self._value)
        self._value = torch.tensor(wish)
        self._work = dist.all_reduce(self._value, dist.ReduceOp.MAX, self.group, async_op=True)
        return agreed
