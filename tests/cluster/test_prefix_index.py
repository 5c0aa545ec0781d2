"""Which worker probably holds which blocks."""

from legato.cluster.prefix_index import PrefixIndex

HASHES = [bytes([number]) * 32 for number in range(8)]


def test_leading_blocks_that_a_worker_was_sent_are_counted() -> None:
    index = PrefixIndex()
    index.record("a", HASHES[:3], capacity=10)
    assert index.num_cached_blocks("a", HASHES) == 3
    assert index.num_cached_blocks("a", HASHES[:2]) == 2
    assert index.num_cached_blocks("a", [HASHES[7], *HASHES[:3]]) == 0
    assert index.num_cached_blocks("a", []) == 0


def test_workers_are_apart() -> None:
    index = PrefixIndex()
    index.record("a", HASHES[:3], capacity=10)
    index.record("b", HASHES[:1], capacity=10)
    assert index.num_cached_blocks("b", HASHES) == 1
    assert index.num_cached_blocks("c", HASHES) == 0


def test_the_least_recently_used_hashes_go_first() -> None:
    index = PrefixIndex()
    index.record("a", HASHES[:2], capacity=4)
    index.record("a", HASHES[2:4], capacity=4)
    index.record("a", HASHES[:2], capacity=4)  # used again
    index.record("a", HASHES[4:6], capacity=4)
    assert index.num_cached_blocks("a", HASHES[:2]) == 2
    assert index.num_cached_blocks("a", HASHES[2:4]) == 0
    assert index.num_cached_blocks("a", HASHES[4:6]) == 2


def test_a_prompt_longer_than_the_workers_cache_leaves_its_tail() -> None:
    index = PrefixIndex()
    index.record("a", HASHES, capacity=3)
    assert index.num_cached_blocks("a", HASHES) == 0
    assert index.num_cached_blocks("a", HASHES[5:]) == 3


def test_a_smaller_capacity_shrinks_what_is_kept() -> None:
    index = PrefixIndex()
    index.record("a", HASHES, capacity=8)
    index.record("a", [], capacity=0)
    assert index.num_cached_blocks("a", HASHES[7:]) == 0


def test_a_worker_that_is_gone_holds_nothing() -> None:
    index = PrefixIndex()
    index.record("a", HASHES, capacity=10)
    index.forget("a")
    index.forget("never seen")
    assert index.num_cached_blocks("a", HASHES) == 0
