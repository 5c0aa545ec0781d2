from collections.abc import Iterable

import pytest
import torch
from torch import Tensor

from legato.kernels.block_push import NUM_COLUMNS, digest_blocks, push_blocks


def block_digests(pool: Tensor, blocks: Iterable[int]) -> list[int]:
    digests: list[int] = digest_blocks(pool, torch.tensor(list(blocks), dtype=torch.int64)).tolist()
    return digests


def random_pool(dtype: torch.dtype = torch.float32) -> Tensor:
    """[6 blocks, layer, k/v, kv_head, token, head_dim]"""
    generator = torch.Generator().manual_seed(7)
    return torch.randn(6, 2, 2, 1, 4, 6, generator=generator).to(dtype)


def words_of(pool: Tensor) -> Tensor:
    return pool.view(pool.shape[0], -1).view(torch.int32)


def odd_mix(number: int) -> int:
    """splitmix64 in Python's own integers, made odd."""
    mask = (1 << 64) - 1
    mixed = number * 0x9E3779B97F4A7C15 & mask
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & mask
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & mask
    return (mixed ^ mixed >> 31) | 1


def by_definition(words: list[int]) -> int:
    """The formula of the module's docstring in Python's own integers."""
    total = sum(
        (word + 0x2545F491)
        * odd_mix(1 + NUM_COLUMNS + index // NUM_COLUMNS)
        * odd_mix(1 + index % NUM_COLUMNS)
        for index, word in enumerate(words)
    )
    total &= (1 << 64) - 1
    return total - (1 << 64) if total >> 63 else total


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_digests_follow_their_definition(dtype: torch.dtype) -> None:
    pool = random_pool(dtype)
    expected = [by_definition(words_of(pool)[block].tolist()) for block in (4, 0, 4)]
    assert block_digests(pool, [4, 0, 4]) == expected


@pytest.mark.parametrize("num_words", [1023, 1024, 1025, 3000])
def test_digests_of_long_blocks_follow_their_definition(num_words: int) -> None:
    pool = torch.randint(-(1 << 31), 1 << 31, (2, num_words), dtype=torch.int64).to(torch.int32)
    assert block_digests(pool, [1]) == [by_definition(pool[1].tolist())]


def test_pushed_blocks_arrive_with_their_digests_and_others_stay() -> None:
    source, target = random_pool(), random_pool() + 1
    before = target.clone()
    digests = push_blocks(source, target, torch.tensor([4, 0]), torch.tensor([1, 5]))
    assert digests.tolist() == block_digests(source, [4, 0]) == block_digests(target, [1, 5])
    assert torch.equal(target[[1, 5]], source[[4, 0]])
    assert torch.equal(target[[0, 2, 3, 4]], before[[0, 2, 3, 4]])


def test_no_blocks_have_no_digests() -> None:
    assert block_digests(random_pool(), []) == []


def test_every_single_bit_flip_is_caught() -> None:
    pool = random_pool()
    words = words_of(pool)
    (before,) = block_digests(pool, [3])
    for word in range(words.shape[1]):
        for bit in (0, 1, 7, 15, 16, 23, 30):
            words[3, word] ^= 1 << bit
            assert block_digests(pool, [3]) != [before], f"{word=} {bit=}"
            words[3, word] ^= 1 << bit
    assert block_digests(pool, [3]) == [before]


def test_flipped_signs_do_not_cancel_out() -> None:
    pool = random_pool()
    before = block_digests(pool, [2])
    for start in range(8):
        for step in (1, 2, 3):
            flipped = pool.clone()
            words_of(flipped)[2, start : start + 2 * step : step] ^= -(1 << 31)
            assert block_digests(flipped, [2]) != before


def test_words_that_changed_places_are_caught() -> None:
    pool = random_pool()
    words = words_of(pool)
    before = block_digests(pool, [1])
    for first, second in ((0, 1), (0, 2), (5, 90), (0, words.shape[1] - 1)):
        swapped = words.clone()
        swapped[1, first], swapped[1, second] = words[1, second], words[1, first]
        assert block_digests(swapped, [1]) != before


def test_blocks_that_changed_places_are_caught() -> None:
    pool = random_pool()
    first, second = block_digests(pool, [0, 1])
    assert first != second
    assert block_digests(pool, [1, 0]) == [second, first]


def test_zeros_have_a_digest_that_depends_on_their_length() -> None:
    digests = {
        num_words: block_digests(torch.zeros(1, num_words), [0])[0] for num_words in range(1, 50)
    }
    assert 0 not in digests.values()
    assert len(set(digests.values())) == len(digests)


def test_a_stale_half_of_a_block_is_caught() -> None:
    pool = random_pool()
    mixed = words_of(pool).clone()
    half = mixed.shape[1] // 2
    mixed[0, half:] = mixed[5, half:]
    assert block_digests(mixed, [0]) != block_digests(pool, [0])


def test_digests_fit_into_a_signed_64_bit_integer() -> None:
    digests = block_digests(random_pool(), range(6))
    assert all(-(1 << 63) <= digest < 1 << 63 for digest in digests)
    assert min(digests) < 0 < max(digests)


def test_a_pool_without_whole_words_is_refused() -> None:
    with pytest.raises(ValueError, match="6 bytes"):
        block_digests(torch.zeros(2, 3, dtype=torch.float16), [0])
    with pytest.raises(ValueError, match="32-bit words"):
        block_digests(torch.zeros(4, 4).T, [0])
