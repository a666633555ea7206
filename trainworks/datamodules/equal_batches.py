import math

from trainworks.errors import UsageError


def equal_num_batches(length: int, world_size: int, batch_size: int, divisible: bool = True) -> int | None:
    """Return into how many batches each process divides its samples so that all have equally many and none is empty.

    Each batch has at most `batch_size` of the `length` samples; only if they are `divisible` may it have fewer. None
    means that full batches and a smaller last one are equally many on all processes already.
    """
    largest, smallest = math.ceil(length / world_size), length // world_size  # samples of one process
    num_batches = math.ceil(largest / batch_size)
    if math.ceil(smallest / batch_size) == num_batches:
        return None
    if smallest < num_batches or not divisible:
        raise UsageError(
            f"{length} samples are not equally many batches for each of {world_size} processes, which sharded weights "
            f"need; got a data.batch_size of {batch_size * world_size}; write another, at least {2 * world_size}"
        )
    return num_batches
