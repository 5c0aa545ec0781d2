"""Digests of KV blocks beside whatever else the pool's device does.

The digest itself is defined in legato.kernels.block_push.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from legato.kernels.backend import kernels_for


class BlockDigester:
    """Computes digests of one pool's blocks, on a GPU on a stream of its own."""

    def __init__(self, pool: Tensor) -> None:
        """
        Args:
            pool: [num_blocks, ...], contiguous, any dtype; a block's bytes are a multiple of 4.
        """
        self._pool = pool
        self._kernels = kernels_for(pool.device)
        self._stream = side_stream(pool.device)

    def digests(self, block_ids: Sequence[int]) -> list[int]:
        """Waits for the digests, a signed 64-bit integer for each of `block_ids`.

        May be called from any thread, and from several at once.
        """
        with torch.cuda.stream(self._stream):
            blocks = torch.tensor(block_ids, dtype=torch.int64, device=self._pool.device)
            digests: list[int] = self._kernels.digest_blocks(self._pool, blocks).tolist()
        return digests


def block_digests(pool: Tensor, block_ids: Sequence[int]) -> list[int]:
    """Digests of the raw bytes of some blocks; see `BlockDigester`."""
    return BlockDigester(pool).digests(block_ids)


def compile_transfers(pool: Tensor) -> None:
    """Has the kernels of pushes and digests compiled for blocks like the pool's.

    To be called before anybody waits for a transfer.
    """
    kernels = kernels_for(pool.device)
    block = torch.zeros((1, *pool.shape[1:]), dtype=pool.dtype, device=pool.device)
    only = torch.zeros(1, dtype=torch.int64, device=pool.device)
    kernels.push_blocks(block, block, only, only)
    kernels.digest_blocks(block, only)


def side_stream(device: torch.device, priority: int = 0) -> "torch.cuda.Stream | None":
    """A stream for work that the engine's steps do not wait for; None on a CPU.

    Args:
        priority: negative: goes before the steps where both could run
    """
    return torch.cuda.Stream(device, priority=priority) if device.type == "cuda" else None
