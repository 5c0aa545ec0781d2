import asyncio
from pathlib import Path

import msgspec
import pytest

from legato.cluster.transfer.transport import (
    IncompatiblePoolsError,
    PoolDescriptor,
    check_compatible,
    host_id,
    wait_out,
)

POOL = PoolDescriptor(
    worker="decode-0",
    host="host",
    pid=1,
    shape=(10, 2, 2, 1, 16, 8),
    dtype="bfloat16",
    kind="memfd",
    fd=3,
    token=b"t" * 16,
)


def test_a_descriptor_knows_its_sizes() -> None:
    assert POOL.num_blocks == 10
    assert POOL.bytes_per_block == 2 * 2 * 16 * 8 * 2
    assert POOL.num_bytes == 10 * POOL.bytes_per_block


def test_a_descriptor_survives_the_wire() -> None:
    encoded = msgspec.msgpack.encode(POOL)
    assert msgspec.msgpack.decode(encoded, type=PoolDescriptor) == POOL


def test_pools_that_differ_only_in_size_fit() -> None:
    check_compatible(POOL, msgspec.structs.replace(POOL, shape=(99, *POOL.shape[1:])))


def test_pools_of_different_types_do_not_fit() -> None:
    other = msgspec.structs.replace(POOL, worker="prefill-0", dtype="float16")
    with pytest.raises(IncompatiblePoolsError, match=r"prefill-0 has float16.*same --dtype"):
        check_compatible(POOL, other)


def test_pools_of_different_blocks_do_not_fit() -> None:
    other = msgspec.structs.replace(POOL, worker="prefill-0", shape=(10, 2, 2, 1, 64, 8))
    with pytest.raises(IncompatiblePoolsError, match=r"16, 8\].*64, 8\].*--block-size"):
        check_compatible(POOL, other)


def test_a_host_is_known_by_its_boot(tmp_path: Path) -> None:
    boot_id = tmp_path / "boot_id"
    boot_id.write_text("abc\n")
    assert host_id(boot_id) == "abc"
    assert host_id() == host_id()


async def test_cancelled_work_is_waited_out() -> None:
    work: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(wait_out(work))
    for _ in range(3):  # a second and a third cancellation change nothing
        await asyncio.sleep(0)
        waiting.cancel()
    await asyncio.sleep(0)
    assert not waiting.done() and not work.cancelled()
    work.set_result(1)
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_work_that_is_not_cancelled_gives_its_result_or_error() -> None:
    loop = asyncio.get_running_loop()
    assert await wait_out(loop.run_in_executor(None, int, "7")) == 7
    with pytest.raises(ValueError, match="invalid literal"):
        await wait_out(loop.run_in_executor(None, int, "x"))
