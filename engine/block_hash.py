"""Names for the contents of KV blocks: a sha256 chain over (salt, tokens of every block so far).

    root = sha256(domain tag | salt)
    hash of block i = sha256(hash of block i-1 | tokens of block i, four little-endian bytes each)

A hash therefore stands for a whole prefix, and equal hashes mean equal KV content for one model
and one block size. The root holds nothing random and nothing of the process: prefill workers,
decode workers and the router must come to the same hashes independently. Tenants that must not
see each other's cache (not even by timing) get different salts. The module knows no pool.
"""

import hashlib
import struct
from collections.abc import Sequence

_ROOT_TAG = b"legato.block_hash.v1\0"


def root_hash(salt: bytes = b"") -> bytes:
    """The parent of a sequence's first block: 32 bytes, the same in every process."""
    return hashlib.sha256(_ROOT_TAG + salt).digest()


def child_hash(parent: bytes, token_ids: Sequence[int]) -> bytes:
    """The hash of the block that holds `token_ids` and follows the block `parent`: 32 bytes."""
    return hashlib.sha256(parent + struct.pack(f"<{len(token_ids)}I", *token_ids)).digest()


def extend_hashes(
    hashes: list[bytes], token_ids: Sequence[int], block_size: int, salt: bytes, num_blocks: int
) -> None:
    """Continues `hashes` (one for each full block of `token_ids`) in place, up to `num_blocks`."""
    parent = hashes[-1] if hashes else root_hash(salt)
    for start in range(len(hashes) * block_size, num_blocks * block_size, block_size):
        parent = child_hash(parent, token_ids[start : start + block_size])
        hashes.append(parent)


def block_hashes(token_ids: Sequence[int], block_size: int, salt: bytes = b"") -> list[bytes]:
    """The hashes of all full blocks of `token_ids`, first block first."""
    hashes: list[bytes] = []
    extend_hashes(hashes, token_ids, block_size, salt, len(token_ids) // block_size)
    return hashes
