import pytest

from legato.engine.graph_buckets import (
    decode_sizes,
    large_sizes,
    prefill_sizes,
    smallest_at_least,
)


@pytest.mark.parametrize("max_num_seqs", [1, 2, 3, 8, 9, 64, 100, 256, 1000, 1024])
def test_every_batch_has_a_size_and_the_largest_is_exact(max_num_seqs: int) -> None:
    sizes = decode_sizes(max_num_seqs)
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == max_num_seqs


def test_padding_stays_within_an_eighth_where_batches_are_large() -> None:
    sizes = decode_sizes(1024)
    for number in range(64, 1025):
        size = smallest_at_least(sizes, number)
        assert size is not None
        assert size <= number * 1.125


def test_prompts_are_padded_by_an_eighth_at_most_where_that_costs_time() -> None:
    sizes = prefill_sizes(2048)
    for number in range(512, 2049):
        size = smallest_at_least(sizes, number)
        assert size is not None
        assert size <= (number - 1) * 1.125 + 1


def test_small_batches_are_exact_or_nearly_so() -> None:
    sizes = decode_sizes(256)
    assert [smallest_at_least(sizes, number) for number in (1, 2, 3, 8, 9)] == [1, 2, 4, 8, 16]


def test_there_is_no_size_for_what_is_too_large() -> None:
    assert smallest_at_least(prefill_sizes(512), 513) is None
    assert prefill_sizes(8) == []


def test_steps_that_are_not_captured_are_stood_for_up_to_the_largest() -> None:
    assert large_sizes(8192)[-1] == 8192
    assert large_sizes(100) == [100]
    assert large_sizes(1024) == []  # captured
