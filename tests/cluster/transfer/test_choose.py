import msgspec
import pytest
import torch

from legato.cluster.transfer.choose import choose_transport
from legato.cluster.transfer.local_pool import LocalPool
from legato.cluster.transfer.object_store import BlockData
from legato.cluster.transfer.shared_memory import SharedPool
from legato.cluster.transfer.transport import IncompatiblePoolsError, PoolDescriptor


class NoReceiver:
    async def receive_blocks(
        self, handle: bytes, writer: str, block_ids: list[int], data: BlockData
    ) -> bool:
        return False


def descriptor(worker: str) -> PoolDescriptor:
    shared = SharedPool(3 * 16)
    return shared.describe(worker, shared.buffer.view(torch.float32).view(3, 4))


def local_pool() -> LocalPool:
    return LocalPool(torch.zeros(3, 4), descriptor("prefill-0"), block_size=4)


def test_workers_on_one_host_use_shared_memory() -> None:
    choice = choose_transport(local_pool(), descriptor("decode-0"), NoReceiver())
    assert choice.transport.name == "shared_memory" and choice.reason is None
    choice.transport.close()


@pytest.mark.parametrize(
    "change", [{"host": "elsewhere"}, {"kind": "private"}, {"pid": 1 << 30}, {"token": b""}]
)
def test_workers_that_share_no_memory_use_the_object_store(
    change: dict[str, str | int | bytes],
) -> None:
    peer = msgspec.structs.replace(descriptor("decode-0"), **change)
    choice = choose_transport(local_pool(), peer, NoReceiver())
    assert choice.transport.name == "object_store"
    assert choice.reason is not None and "decode-0" in choice.reason
    choice.transport.close()


def test_workers_with_different_blocks_use_nothing() -> None:
    peer = msgspec.structs.replace(descriptor("decode-0"), shape=(3, 2))
    with pytest.raises(IncompatiblePoolsError):
        choose_transport(local_pool(), peer, NoReceiver())
