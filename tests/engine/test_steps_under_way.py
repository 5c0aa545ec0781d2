import pytest

from legato.engine.block_pool import BlockPool
from legato.engine.steps_under_way import StepsUnderWay


def test_steps_are_numbered_from_launch_to_collection() -> None:
    steps = StepsUnderWay(BlockPool(1))
    assert [steps.next_step, steps.launch(), steps.launch()] == [1, 1, 2]
    assert steps.num_under_way == 2
    assert steps.collect() == 1
    assert not steps.is_under_way(1)
    assert steps.is_under_way(2)


def test_nothing_can_be_collected_that_was_not_launched() -> None:
    with pytest.raises(AssertionError):
        StepsUnderWay(BlockPool(1)).collect()


def test_blocks_that_no_step_writes_are_free_at_once() -> None:
    pool = BlockPool(2)
    steps = StepsUnderWay(pool)
    steps.launch()
    steps.collect()
    steps.release_after(0, pool.allocate(1))
    steps.release_after(1, pool.allocate(1))
    assert pool.num_free_blocks == 2
    assert not steps.keeps_blocks


def test_blocks_are_kept_until_their_own_step_is_collected() -> None:
    pool = BlockPool(3)
    steps = StepsUnderWay(pool)
    steps.launch()
    steps.launch()
    steps.release_after(2, pool.allocate(2))
    steps.release_after(1, pool.allocate(1))
    assert pool.num_free_blocks == 0
    steps.collect()
    assert pool.num_free_blocks == 1
    assert steps.keeps_blocks
    steps.collect()
    assert pool.num_free_blocks == 3
    assert not steps.keeps_blocks
