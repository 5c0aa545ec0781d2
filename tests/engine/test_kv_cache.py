import pytest
import torch

from legato.engine.config import CacheOptions
from legato.engine.errors import ConfigError
from legato.engine.kv_cache import KVCacheSpec, PoolDemand, allocate_pool, num_blocks_for

SPEC = KVCacheSpec(num_layers=3, num_kv_heads=2, head_dim=8, block_size=4, dtype=torch.bfloat16)


def num_blocks(max_model_len: int = 100, max_num_seqs: int = 4, **options: int) -> int:
    demand = PoolDemand(max_model_len, max_num_seqs, torch.device("cpu"))
    return num_blocks_for(SPEC, CacheOptions(**options), demand)  # type: ignore[arg-type]


def test_a_block_is_one_contiguous_range() -> None:
    pool = allocate_pool(SPEC, 5)
    assert tuple(pool.shape) == SPEC.pool_shape(5) == (5, 3, 2, 2, 4, 8)
    assert pool[0].nbytes == SPEC.bytes_per_block == 3 * 2 * 2 * 4 * 8 * 2
    assert pool.is_contiguous()


def test_by_default_the_pool_holds_what_the_sequences_may_need() -> None:
    assert num_blocks(max_model_len=101, max_num_seqs=4) == 4 * 26


def test_by_default_the_pool_has_at_most_4_gib() -> None:
    assert num_blocks(max_model_len=10_000, max_num_seqs=10_000) * SPEC.bytes_per_block <= 4 << 30


def test_a_size_or_a_number_is_taken_as_it_stands() -> None:
    assert num_blocks(kv_cache_memory_bytes=70 * SPEC.bytes_per_block + 1) == 70
    assert num_blocks(kv_cache_memory_bytes=1, num_gpu_blocks_override=33) == 33


def test_one_sequence_must_fit() -> None:
    assert num_blocks(num_gpu_blocks_override=25) == 25
    with pytest.raises(ConfigError, match=r"96 tokens.*of 100: lower --max-model-len, or raise"):
        num_blocks(num_gpu_blocks_override=24)


def test_more_than_the_machine_has_is_refused() -> None:
    with pytest.raises(ConfigError, match="memory that are left"):
        num_blocks(kv_cache_memory_bytes=1 << 60)
