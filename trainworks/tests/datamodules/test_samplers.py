import tracemalloc

import numpy as np
import pytest
from torch.utils.data import BatchSampler, SequentialSampler

from trainworks.datamodules.sample_weights import balanced_weights
from trainworks.datamodules.samplers import ArrayBatchSampler, ShardSampler, equal_num_batches
from trainworks.errors import UsageError


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
    first = sampler.keys()
    assert np.array_equal(first, sampler.keys())
    assert not np.array_equal(first, other.keys())
    sampler.set_epoch(3)
    assert not np.array_equal(first, sampler.keys() % 100)
    assert set(sampler.keys() // 100) == {3}  # a key tells the epoch too


@pytest.mark.parametrize("drop_last", [True, False])
def test_batches_are_those_of_torch(drop_last: bool) -> None:
    ours = [batch.tolist() for batch in ArrayBatchSampler(SequentialSampler(range(10)), 4, drop_last)]
    assert ours == list(BatchSampler(SequentialSampler(range(10)), 4, drop_last))
    assert len(ours) == len(ArrayBatchSampler(SequentialSampler(range(10)), 4, drop_last))


def test_weights_decide_how_often_a_sample_comes() -> None:
    weights = np.repeat([0.0, 1.0, 3.0], [10, 500, 490])
    sampler = ShardSampler(1000, shuffle=True, seed=1, weights=weights)
    counts = np.bincount(sampler.keys(), minlength=1000)
    expected = weights / weights.sum() * 1000
    assert counts.sum() == 1000
    assert np.all(counts[:10] == 0)
    assert np.all((counts == np.floor(expected)) | (counts == np.ceil(expected)))
    sampler.set_epoch(1)
    assert not np.array_equal(np.bincount(sampler.keys() - 1000, minlength=1000), counts)


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_divide_a_weighted_order_too(world_size: int) -> None:
    weights = balanced_weights(np.repeat([0, 1], [990, 10]))
    whole = ShardSampler(1000, shuffle=True, seed=7, weights=weights).keys()
    parts = [ShardSampler(1000, rank, world_size, True, 7, weights).keys() for rank in range(world_size)]
    assert len({len(part) for part in parts}) == 1
    assert np.array_equal(np.stack(parts, axis=1).ravel(), whole[: 1000 // world_size * world_size])
    assert np.isin(whole, range(990)).mean() == pytest.approx(0.5, abs=0.02)


def test_ten_million_samples_stay_an_array() -> None:
    sampler = ArrayBatchSampler(ShardSampler(10_000_000, shuffle=True), 1024, drop_last=True)
    tracemalloc.start()
    first = next(iter(sampler))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(first) == 1024
    assert peak < 10_000_000 * 8 * 4  # some arrays of int64; a list of Python integers would be 360 MB by itself


@pytest.mark.parametrize(("length", "replicas", "size", "count"), [(129, 2, 32, 3), (7, 3, 2, 2)])
def test_all_processes_can_take_equally_many_batches(length: int, replicas: int, size: int, count: int) -> None:
    assert equal_num_batches(length, replicas, size) == count
    seen = []
    for rank in range(replicas):
        batches = ArrayBatchSampler(ShardSampler(length, rank, replicas), size, drop_last=False)
        batches.num_batches = count
        taken = list(batches)
        assert len(taken) == len(batches) == count
        assert all(0 < len(batch) <= size for batch in taken)
        seen += [int(key) for batch in taken for key in batch]
    assert sorted(seen) == list(range(length))


def test_where_they_do_so_anyway_nothing_is_changed() -> None:
    assert equal_num_batches(359, 2, 32) is None


@pytest.mark.parametrize(("size", "divisible"), [(1, True), (1, False), (2, False)])
def test_some_numbers_of_samples_cannot_be_shared_out(size: int, divisible: bool) -> None:
    with pytest.raises(UsageError, match=f"5 samples are not .*batch_size of {2 * size}; write another, at least 4"):
        equal_num_batches(5, 2, size, divisible)
