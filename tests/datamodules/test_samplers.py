import numpy as np
import pytest
from torch.utils.data import BatchSampler, SequentialSampler

from src.datamodules.samplers import ArrayBatchSampler, ShardSampler


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_ranks_together_take_the_batches_of_one_process(world_size: int) -> None:
    whole = list(ArrayBatchSampler(ShardSampler(1000, shuffle=True, seed=7), 64, drop_last=True))
    ranks = [ShardSampler(1000, rank, world_size, shuffle=True, seed=7) for rank in range(world_size)]
    parts = [list(ArrayBatchSampler(sampler, 64 // world_size, drop_last=True)) for sampler in ranks]
    assert len({len(part) for part in parts}) == 1
    for step, batch in enumerate(whole):
        assert set(np.concatenate([part[step] for part in parts])) == set(batch)


def test_evaluation_divides_without_repeating() -> None:
    samplers = [ShardSampler(11, rank, 3) for rank in range(3)]
    assert [len(sampler) for sampler in samplers] == [4, 4, 3]
    assert sorted(index for sampler in samplers for index in sampler) == list(range(11))


def test_order_depends_on_seed_and_epoch_only() -> None:
    sampler, other = ShardSampler(100, shuffle=True, seed=1), ShardSampler(100, shuffle=True, seed=2)
    first = sampler.order()
    assert np.array_equal(first, sampler.order())
    assert not np.array_equal(first, other.order())
    sampler.set_epoch(1)
    assert not np.array_equal(first, sampler.order())


@pytest.mark.parametrize("drop_last", [True, False])
def test_batches_are_those_of_torch(drop_last: bool) -> None:
    ours = [batch.tolist() for batch in ArrayBatchSampler(SequentialSampler(range(10)), 4, drop_last)]
    assert ours == list(BatchSampler(SequentialSampler(range(10)), 4, drop_last))
    assert len(ours) == len(ArrayBatchSampler(SequentialSampler(range(10)), 4, drop_last))
