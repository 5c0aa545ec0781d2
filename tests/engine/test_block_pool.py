import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from legato.engine.block_pool import BlockPool

NUM_BLOCKS = 6


def test_blocks_that_hold_nothing_are_handed_out_before_cached_ones() -> None:
    pool = BlockPool(3)
    cached, plain = pool.allocate(2)
    pool.register(cached, b"a")
    pool.release((cached, plain))
    assert set(pool.allocate(2)) == {plain, 2}
    assert pool.find_prefix([b"a"]) == (cached,)


def test_cached_blocks_are_evicted_least_recently_used_and_tails_before_heads() -> None:
    pool = BlockPool(4)
    old, young = pool.allocate(2), pool.allocate(2)
    for block_id in old + young:
        pool.register(block_id, bytes([block_id]))
    pool.release(old)
    pool.release(young)
    pool.acquire(old)
    pool.release(old)
    assert pool.allocate(4) == (young[1], young[0], old[1], old[0])


def test_the_epoch_rises_with_every_hand_out_and_not_with_a_prefix_hit() -> None:
    pool = BlockPool(1)
    (block_id,) = pool.allocate(1)
    pool.register(block_id, b"a")
    epoch = pool.epoch(block_id)
    pool.release((block_id,))
    pool.acquire((block_id,))
    assert pool.epoch(block_id) == epoch
    pool.release((block_id,))
    assert pool.epoch(pool.allocate(1)[0]) == epoch + 1


def test_a_prefix_ends_at_the_first_missing_block() -> None:
    pool = BlockPool(3)
    block_ids = pool.allocate(3)
    pool.register(block_ids[0], b"a")
    pool.register(block_ids[2], b"c")
    assert pool.find_prefix([b"a", b"b", b"c"]) == (block_ids[0],)


def test_a_duplicate_takes_over_when_the_first_block_of_its_hash_is_evicted() -> None:
    pool = BlockPool(2)
    (first,), (second,) = pool.allocate(1), pool.allocate(1)
    pool.register(first, b"a")
    pool.register(second, b"a")
    pool.release((first,))
    assert pool.find_prefix([b"a"]) == (first,)
    assert pool.allocate(1) == (first,)
    assert pool.find_prefix([b"a"]) == (second,)
    pool.check_integrity()


def test_a_shared_block_is_free_only_when_all_have_let_go() -> None:
    pool = BlockPool(1)
    block_ids = pool.allocate(1)
    pool.acquire(block_ids)
    pool.release(block_ids)
    assert pool.num_free_blocks == 0
    pool.release(block_ids)
    assert pool.num_free_blocks == 1


def test_misuse_is_caught() -> None:
    pool = BlockPool(1)
    with pytest.raises(AssertionError, match="allocate"):
        pool.allocate(2)
    with pytest.raises(AssertionError, match="release"):
        pool.release((0,))
    with pytest.raises(AssertionError, match="register"):
        pool.register(0, b"a")


class PoolMachine(RuleBasedStateMachine):
    """The pool against a model: who holds which block, and what was written into it."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = BlockPool(NUM_BLOCKS)
        self.held: list[tuple[int, ...]] = []
        self.content: dict[int, bytes] = {}

    @rule(num_blocks=st.integers(1, 3))
    def allocate(self, num_blocks: int) -> None:
        if num_blocks > self.pool.num_free_blocks:
            return
        block_ids = self.pool.allocate(num_blocks)
        assert not set(block_ids) & {block_id for held in self.held for block_id in held}
        for block_id in block_ids:
            self.content.pop(block_id, None)
        self.held.append(block_ids)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), name=st.sampled_from([b"a", b"b", b"c"]))
    def register(self, data: st.DataObject, name: bytes) -> None:
        block_id = data.draw(st.sampled_from(self.held))[0]
        if self.content.setdefault(block_id, name) == name:
            self.pool.register(block_id, name)

    @rule(name=st.sampled_from([b"a", b"b", b"c"]))
    def hit(self, name: bytes) -> None:
        block_ids = self.pool.find_prefix([name])
        assert bool(block_ids) == (name in self.content.values())
        if block_ids:
            assert self.content[block_ids[0]] == name
            self.pool.acquire(block_ids)
            self.held.append(block_ids)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        held = data.draw(st.sampled_from(self.held))
        self.held.remove(held)
        self.pool.release(held)

    @invariant()
    def nothing_is_lost(self) -> None:
        in_use = {block_id for held in self.held for block_id in held}
        assert self.pool.num_free_blocks == NUM_BLOCKS - len(in_use)
        self.pool.check_integrity()


PoolMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestPool = PoolMachine.TestCase
