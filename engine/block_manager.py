"""Gives sequences their blocks: from the prefix cache where it can, from the free queue elsewhere.

    block_table:  | cached prefix | full, computed | partial | for known tokens not yet computed |
                  |<------- in the prefix cache -->|
                  num_registered_blocks

It knows block numbers, hashes and token counts; who gets blocks when is the scheduler's business.
"""

from legato.engine.block_hash import extend_hashes
from legato.engine.block_pool import BlockPool
from legato.engine.sequence import Sequence


class BlockManager:
    """Keeps the block tables of sequences and the pool in step with each other."""

    def __init__(self, pool: BlockPool, block_size: int, enable_prefix_caching: bool) -> None:
        self.pool = pool
        self.block_size = block_size
        self._enable_prefix_caching = enable_prefix_caching

    def claim(self, seq: Sequence, num_tokens: int, num_spare_blocks: int) -> bool:
        """Gives a sequence without blocks a table for `num_tokens` tokens, prefix hits first.

        False, and nothing done, where that would leave fewer than `num_spare_blocks` free.
        """
        cached = self._find_prefix(seq)
        num_fresh = self._num_blocks_for(num_tokens) - len(cached)
        num_taken = num_fresh + self.pool.num_free_among(cached)
        if self.pool.num_free_blocks - num_taken < num_spare_blocks:
            return False
        self.pool.acquire(cached)
        seq.block_table = cached + self.pool.allocate(num_fresh)
        seq.num_registered_blocks = len(cached)
        seq.num_computed_tokens = len(cached) * self.block_size
        if seq.num_cached_tokens is None:
            seq.num_cached_tokens = min(seq.num_computed_tokens, seq.num_prompt_tokens)
        return True

    def _find_prefix(self, seq: Sequence) -> tuple[int, ...]:
        if not self._enable_prefix_caching:
            return ()
        num_usable = seq.num_reusable_tokens // self.block_size
        self._extend_hashes(seq, num_usable)
        return self.pool.find_prefix(seq.block_hashes[:num_usable])

    def _extend_hashes(self, seq: Sequence, num_blocks: int) -> None:
        salt = seq.request.salt
        extend_hashes(seq.block_hashes, seq.token_ids, self.block_size, salt, num_blocks)

    def has_room(self, seq: Sequence) -> bool:
        """Whether the table holds all known and pending tokens."""
        num_tokens = len(seq.token_ids) + seq.num_pending_tokens
        return num_tokens <= len(seq.block_table) * self.block_size

    def grow(self, seq: Sequence) -> bool:
        """Extends a table that has no room; False, and nothing done, if it cannot."""
        num_tokens = len(seq.token_ids) + seq.num_pending_tokens
        num_missing = self._num_blocks_for(num_tokens) - len(seq.block_table)
        if num_missing > self.pool.num_free_blocks:
            return False
        seq.block_table += self.pool.allocate(num_missing)
        return True

    def publish(self, seq: Sequence) -> None:
        """Puts blocks that have become full and computed into the prefix cache."""
        num_full = seq.num_computed_tokens // self.block_size
        if not self._enable_prefix_caching or num_full == seq.num_registered_blocks:
            return
        self._extend_hashes(seq, num_full)
        for index in range(seq.num_registered_blocks, num_full):
            self.pool.register(seq.block_table[index], seq.block_hashes[index])
        seq.num_registered_blocks = num_full

    def take_back(self, seq: Sequence) -> tuple[int, ...]:
        """Takes all blocks from the sequence. The caller owns them, and releases them in order."""
        block_ids = seq.block_table
        seq.block_table = ()
        seq.num_registered_blocks = 0
        seq.num_computed_tokens = 0
        return block_ids

    def _num_blocks_for(self, num_tokens: int) -> int:
        return -(-num_tokens // self.block_size)
