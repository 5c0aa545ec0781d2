"""A worker's pool, and the ways in that it opens."""

import pytest
import torch

from legato.cluster.transfer.local_pool import LocalPool, make_local_pool
from legato.cluster.transfer.nixl_agent import is_installed
from legato.cluster.transfer.transport import KVTransport
from legato.engine.errors import ConfigError
from legato.engine.kv_layout import KVCacheSpec

SPEC = KVCacheSpec(num_layers=2, num_kv_heads=1, head_dim=8, block_size=4, dtype="float32")
needs_nixl = pytest.mark.skipif(not is_installed(), reason="needs the extra 'nixl'")


def make(kv_transport: KVTransport, has_other_hosts: bool = False) -> LocalPool:
    return make_local_pool("decode-0", SPEC, 3, torch.device("cpu"), kv_transport, has_other_hosts)


def test_workers_of_one_machine_are_let_in_by_shared_memory_alone() -> None:
    pool = make(KVTransport.AUTO)
    assert pool.tensor.shape == (3, 2, 2, 1, 4, 8) and pool.tensor.dtype == torch.float32
    assert pool.block_size == 4
    assert pool.descriptor.kind == "memfd"
    assert pool.agent is None and pool.descriptor.registered is None


def test_nobody_is_let_in_where_all_goes_through_the_object_store() -> None:
    pool = make(KVTransport.OBJECT_STORE, has_other_hosts=True)
    assert pool.descriptor.kind == "private"
    assert pool.agent is None and pool.descriptor.registered is None


@needs_nixl
def test_other_hosts_are_let_in_by_nixl() -> None:
    pool = make(KVTransport.AUTO, has_other_hosts=True)
    assert pool.descriptor.kind == "memfd"
    assert pool.agent is not None and pool.descriptor.registered is not None
    assert pool.descriptor.registered.location.address == pool.tensor.data_ptr()
    pool.agent.close()


@needs_nixl
def test_with_nixl_alone_workers_of_one_machine_use_it_too() -> None:
    pool = make(KVTransport.NIXL)
    assert pool.descriptor.kind == "private"
    assert pool.agent is not None and pool.descriptor.registered is not None
    pool.agent.close()


@pytest.mark.skipif(is_installed(), reason="NIXL is installed")
def test_nixl_that_is_missing_is_one_clear_line() -> None:
    with pytest.raises(
        ConfigError, match=r"^--kv-transport nixl: .*pip install 'legato-llm\[nixl\]'$"
    ):
        make(KVTransport.NIXL)
    assert make(KVTransport.AUTO, has_other_hosts=True).descriptor.kind == "memfd"
