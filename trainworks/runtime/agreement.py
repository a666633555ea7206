from typing import Any

import torch
import torch.distributed as dist


class Agreement:
    """Lets all ranks act at the same batch on what only one of them may know, without waiting in a step.

    The requests of each step are exchanged in the background, and their maximum is read one step later.
    """

    def __init__(self) -> None:
        self.group: Any = dist.new_group(backend="gloo")  # a group of its own, on the CPU
        self._work: Any = None
        self._value = torch.tensor(0)

    def exchange(self, request: int) -> int:
        """Send this rank's request, and return the maximum of the requests that all ranks sent one step ago."""
        agreed = 0
        if self._work is not None:
            self._work.wait()
            agreed = int(self._value)
        self._value = torch.tensor(request)
        self._work = dist.all_reduce(self._value, dist.ReduceOp.MAX, self.group, async_op=True)
        return agreed
