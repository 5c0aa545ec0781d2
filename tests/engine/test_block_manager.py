import pytest

from legato.engine.batch import SequenceRequest
from legato.engine.block_manager import BlockManager
from legato.engine.block_pool import BlockPool
from legato.engine.limits import EngineLimits
from legato.engine.sampling_params import SamplingParams
from legato.engine.sequence import Sequence

LIMITS = EngineLimits(num_blocks=8, block_size=4, vocab_size=100, max_model_len=32)


@pytest.fixture
def blocks() -> BlockManager:
    return BlockManager(BlockPool(8), block_size=4, enable_prefix_caching=True)


def sequence(*token_ids: int, salt: bytes = b"") -> Sequence:
    request = SequenceRequest(token_ids, SamplingParams(), 0, salt=salt)
    return Sequence.of(0, request, LIMITS, now_s=0.0)


def computed(blocks: BlockManager, seq: Sequence) -> Sequence:
    assert blocks.claim(seq, len(seq.token_ids), 0)
    seq.num_computed_tokens = len(seq.token_ids)
    blocks.publish(seq)
    return seq


def test_a_cached_prefix_is_shared_and_counted_as_computed(blocks: BlockManager) -> None:
    first = computed(blocks, sequence(*range(10)))
    second = sequence(*range(8), 50)
    assert blocks.claim(second, 9, 0)
    assert second.block_table[:2] == first.block_table[:2]
    assert second.block_table[2] not in first.block_table
    assert (second.num_computed_tokens, second.num_cached_tokens) == (8, 8)


def test_a_hit_never_covers_all_known_tokens(blocks: BlockManager) -> None:
    computed(blocks, sequence(*range(8)))
    again = sequence(*range(8))
    assert blocks.claim(again, 8, 0)
    assert again.num_computed_tokens == 4


def test_other_salts_share_nothing(blocks: BlockManager) -> None:
    computed(blocks, sequence(*range(9)))
    other = sequence(*range(9), salt=b"tenant")
    assert blocks.claim(other, 9, 0)
    assert other.num_computed_tokens == 0


def test_a_freed_sequence_leaves_its_prefix_findable(blocks: BlockManager) -> None:
    blocks.pool.release(blocks.take_back(computed(blocks, sequence(*range(9)))))
    assert blocks.pool.num_free_blocks == 8
    again = sequence(*range(9))
    assert blocks.claim(again, 9, 0)
    assert again.num_computed_tokens == 8


def test_a_claim_that_would_eat_the_spare_blocks_does_nothing(blocks: BlockManager) -> None:
    blocks.pool.release(blocks.take_back(computed(blocks, sequence(*range(9)))))
    # The two cached blocks are free: a hit takes them out of the free queue as well.
    again = sequence(*range(9))
    assert not blocks.claim(again, 9, num_spare_blocks=6)
    assert again.block_table == ()
    assert blocks.pool.num_free_blocks == 8
    assert blocks.claim(again, 9, num_spare_blocks=5)


def test_growth_gives_a_block_when_the_last_one_is_full(blocks: BlockManager) -> None:
    seq = sequence(1, 2, 3, 4)
    assert blocks.claim(seq, 4, 0)
    assert blocks.has_room(seq)
    seq.token_ids.append(5)
    assert not blocks.has_room(seq)
    assert blocks.grow(seq)
    assert len(seq.block_table) == 2


def test_a_token_that_is_still_being_sampled_needs_room_too(blocks: BlockManager) -> None:
    seq = sequence(1, 2, 3, 4)
    assert blocks.claim(seq, 4, 0)
    seq.num_pending_tokens = 1
    assert not blocks.has_room(seq)
    assert blocks.grow(seq)
    assert len(seq.block_table) == 2


def test_growth_beyond_the_pool_does_nothing(blocks: BlockManager) -> None:
    seq = sequence(1, 2, 3, 4)
    assert blocks.claim(seq, 4, 0)
    blocks.pool.allocate(7)
    seq.token_ids.append(5)
    assert not blocks.grow(seq)
    assert len(seq.block_table) == 1


def test_without_prefix_caching_nothing_is_shared() -> None:
    blocks = BlockManager(BlockPool(8), block_size=4, enable_prefix_caching=False)
    blocks.pool.release(blocks.take_back(computed(blocks, sequence(*range(9)))))
    again = sequence(*range(9))
    assert blocks.claim(again, 9, 0)
    assert again.num_computed_tokens == 0
