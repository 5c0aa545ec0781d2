from dataclasses import replace

import pytest

from legato.engine.config import CacheOptions
from legato.engine.errors import ConfigError
from legato.engine.kv_layout import KVCacheSpec, PoolDemand, num_blocks_for

SPEC = KVCacheSpec(num_layers=3, num_kv_heads=2, head_dim=8, block_size=4, dtype="bfloat16")
GIB = 1 << 30


def num_blocks(
    max_model_len: int = 100,
    max_num_seqs: int = 4,
    available_bytes: int = 64 * GIB,
    on_host: bool = True,
    **options: int,
) -> int:
    demand = PoolDemand(max_model_len, max_num_seqs, available_bytes, on_host)
    return num_blocks_for(SPEC, CacheOptions(**options), demand)  # type: ignore[arg-type]


def test_a_block_holds_keys_and_values_of_all_layers() -> None:
    assert SPEC.pool_shape(5) == (5, 3, 2, 2, 4, 8)
    assert SPEC.bytes_per_block == 3 * 2 * 2 * 4 * 8 * 2
    assert [SPEC.num_blocks_of(tokens) for tokens in (0, 1, 4, 5)] == [0, 1, 1, 2]


def test_where_values_are_parts_of_keys_a_block_holds_keys_alone() -> None:
    spec = replace(SPEC, num_kv_heads=1, head_dim=576, has_values=False)
    assert spec.pool_shape(5) == (5, 3, 1, 1, 4, 576)
    assert spec.bytes_per_token == 3 * 576 * 2


def test_by_default_a_hosts_pool_holds_what_the_sequences_may_need() -> None:
    assert num_blocks(max_model_len=101, max_num_seqs=4) == 4 * 26


def test_by_default_a_hosts_pool_has_at_most_4_gib_and_half_of_the_memory() -> None:
    def default_bytes(available_bytes: int) -> int:
        blocks = num_blocks(10_000, 100_000, available_bytes=available_bytes)
        return blocks * SPEC.bytes_per_block

    assert default_bytes(64 * GIB) == pytest.approx(4 * GIB, rel=1e-3)
    assert default_bytes(2 * GIB) == pytest.approx(GIB, rel=1e-3)


def test_by_default_a_gpus_pool_takes_all_there_is() -> None:
    assert num_blocks(available_bytes=70 * SPEC.bytes_per_block + 1, on_host=False) == 70
    with pytest.raises(ConfigError, match="holds 0 tokens"):
        num_blocks(available_bytes=-1, on_host=False)


def test_a_size_or_a_number_is_taken_as_it_stands() -> None:
    assert num_blocks(kv_cache_memory_bytes=70 * SPEC.bytes_per_block + 1) == 70
    assert num_blocks(kv_cache_memory_bytes=1, num_gpu_blocks_override=33) == 33


def test_one_sequence_must_fit() -> None:
    assert num_blocks(num_gpu_blocks_override=25) == 25
    with pytest.raises(ConfigError, match=r"96 tokens.*of 100: lower --max-model-len, or raise"):
        num_blocks(num_gpu_blocks_override=24)


def test_more_than_the_machine_has_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"128\.0 GiB does not fit the 64\.0 GiB .* left"):
        num_blocks(kv_cache_memory_bytes=128 * GIB)
