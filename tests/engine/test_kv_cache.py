import pytest
import torch

from legato.engine.config import CacheOptions
from legato.engine.host_memory import available_memory_bytes
from legato.engine.kv_cache import allocate_pool, pool_memory_bytes
from legato.engine.kv_layout import KVCacheSpec

SPEC = KVCacheSpec(num_layers=3, num_kv_heads=2, head_dim=8, block_size=4, dtype="bfloat16")


def test_a_block_is_one_contiguous_range() -> None:
    pool = allocate_pool(SPEC, 5)
    assert tuple(pool.shape) == SPEC.pool_shape(5)
    assert pool.dtype == torch.bfloat16
    assert pool[0].nbytes == SPEC.bytes_per_block
    assert pool.is_contiguous()


def test_a_hosts_pool_may_take_what_the_host_has_left() -> None:
    found = pool_memory_bytes(CacheOptions(), torch.device("cpu"), 0)
    assert found == pytest.approx(available_memory_bytes(), rel=0.2)  # others live here too


@pytest.mark.gpu
def test_a_gpus_pool_may_take_what_its_share_leaves() -> None:
    device = torch.device("cuda")
    _, total = torch.cuda.mem_get_info(device)
    found = pool_memory_bytes(CacheOptions(gpu_memory_utilization=0.5), device, 1 << 30)
    assert 0 < found <= total // 2 - (1 << 30)
