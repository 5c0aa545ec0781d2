"""Which KV blocks are in use, which are free, and which of them hold a prefix worth keeping.

                 allocate                      release (last reference)
    free, empty ----------> in use --------------------------------------> free, empty
        ^                     |  ^                                             (handed out first)
        |            register |  | acquire (a prefix hit)
        |                     v  |
        |                in use, cached --release--> free, cached
        +------------------------------------------------+
              allocate evicts the least recently used

A block is free when nothing refers to it. A free block that is cached can still be found by its
hash until it is handed out again. Every hand-out raises the block's epoch, so that whoever
remembers (block, epoch) can tell whether the block is still the one that was meant.

Blocks are numbers here: the pool knows no tensor, no token and no sequence.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence


class BlockPool:
    """Reference counts, epochs, free queue and prefix index of `num_blocks` blocks."""

    def __init__(self, num_blocks: int) -> None:
        self._ref_counts = [0] * num_blocks
        self._epochs = [0] * num_blocks
        self._hashes: list[bytes | None] = [None] * num_blocks
        # Two sequences may compute the same prefix at the same time, hence several blocks a hash.
        self._blocks_of_hash: dict[bytes, list[int]] = {}
        self._free = OrderedDict.fromkeys(range(num_blocks))  # next to be handed out first

    @property
    def num_total_blocks(self) -> int:
        return len(self._ref_counts)

    @property
    def num_free_blocks(self) -> int:
        """Blocks that `allocate` can give, cached ones included."""
        return len(self._free)

    def epoch(self, block_id: int) -> int:
        """How often the block has been handed out."""
        return self._epochs[block_id]

    def allocate(self, num_blocks: int) -> tuple[int, ...]:
        """Hands out blocks with one reference each; cached content in them is forgotten.

        Raises:
            AssertionError: fewer than `num_blocks` are free; ask `num_free_blocks` first.
        """
        assert num_blocks <= len(self._free), "allocate() beyond num_free_blocks"
        return tuple(self._hand_out() for _ in range(num_blocks))

    def _hand_out(self) -> int:
        block_id, _ = self._free.popitem(last=False)
        self._forget(block_id)
        self._ref_counts[block_id] = 1
        self._epochs[block_id] += 1
        return block_id

    def _forget(self, block_id: int) -> None:
        block_hash = self._hashes[block_id]
        if block_hash is None:
            return
        self._hashes[block_id] = None
        same = self._blocks_of_hash[block_hash]
        same.remove(block_id)
        if not same:
            del self._blocks_of_hash[block_hash]

    def register(self, block_id: int, block_hash: bytes) -> None:
        """Makes a block in use findable; its content must be complete and never change again."""
        assert self._ref_counts[block_id] > 0, "register() of a free block"
        if self._hashes[block_id] == block_hash:
            return
        assert self._hashes[block_id] is None, "register() of a block that holds something else"
        self._hashes[block_id] = block_hash
        self._blocks_of_hash.setdefault(block_hash, []).append(block_id)

    def find_prefix(self, hashes: Iterable[bytes]) -> tuple[int, ...]:
        """Blocks of the longest cached prefix of a hash chain. Takes no reference."""
        prefix: list[int] = []
        for block_hash in hashes:
            same = self._blocks_of_hash.get(block_hash)
            if same is None:
                break
            prefix.append(same[0])
        return tuple(prefix)

    def num_free_among(self, block_ids: Iterable[int]) -> int:
        """How many of the blocks would leave the free queue if they were acquired."""
        return sum(block_id in self._free for block_id in block_ids)

    def acquire(self, block_ids: Iterable[int]) -> None:
        """Takes one more reference on each block, free cached ones included."""
        for block_id in block_ids:
            assert self._ref_counts[block_id] > 0 or self._hashes[block_id] is not None
            if self._ref_counts[block_id] == 0:
                del self._free[block_id]
            self._ref_counts[block_id] += 1

    def release(self, block_ids: Sequence[int]) -> None:
        """Drops one reference on each block; `block_ids` are in the order of the sequence.

        The tail goes into the free queue before the head, and so is evicted before it: a prefix
        without its head could never be found.
        """
        for block_id in reversed(block_ids):
            assert self._ref_counts[block_id] > 0, "release() of a free block"
            self._ref_counts[block_id] -= 1
            if self._ref_counts[block_id] == 0:
                self._free[block_id] = None
                if self._hashes[block_id] is None:
                    self._free.move_to_end(block_id, last=False)

    def check_integrity(self) -> None:
        """Checks every invariant between the pool's parts; slow, for tests and idle moments.

        Raises:
            AssertionError: two parts of the pool disagree.
        """
        for block_id, ref_count in enumerate(self._ref_counts):
            assert ref_count >= 0
            assert (ref_count == 0) == (block_id in self._free)
            block_hash = self._hashes[block_id]
            assert block_hash is None or block_id in self._blocks_of_hash[block_hash]
        for block_hash, same in self._blocks_of_hash.items():
            assert same and len(set(same)) == len(same)
            assert all(self._hashes[block_id] == block_hash for block_id in same)
