"""Which worker probably holds which KV blocks: the router's own memory of what it sent where.

An entry is a hint. A worker that has evicted the block computes it again; nothing breaks. For
each worker the index keeps as many hashes as the worker has blocks, least recently used first
out, so it forgets at about the pace of the worker's own cache. Workers' names are opaque here.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence


class PrefixIndex:
    """Chained block hash -> workers, with an LRU list for each worker."""

    def __init__(self) -> None:
        self._blocks: dict[str, OrderedDict[bytes, None]] = {}

    def record(self, worker: str, block_hashes: Iterable[bytes], capacity: int) -> None:
        """The worker now holds these blocks; at most `capacity` hashes are kept for it."""
        blocks = self._blocks.setdefault(worker, OrderedDict())
        for block_hash in block_hashes:
            blocks[block_hash] = None
            blocks.move_to_end(block_hash)
        while len(blocks) > capacity:
            blocks.popitem(last=False)

    def num_cached_blocks(self, worker: str, block_hashes: Sequence[bytes]) -> int:
        """How many leading blocks of a prompt the worker probably holds."""
        blocks = self._blocks.get(worker)
        if not blocks:
            return 0
        for index, block_hash in enumerate(block_hashes):
            if block_hash not in blocks:
                return index
        return len(block_hashes)

    def forget(self, worker: str) -> None:
        """The worker is gone, and its cache with it."""
        self._blocks.pop(worker, None)
