"""The frozen values with which a sequence moves from one engine to another.

    source    add(leaves) -> LeavingProgress ...       with each step's result
              pause -> PausedSequence                  everything that is known and computed
    receiver  reserve -> BlockReservation              room for it, prefix hits first
              adopt                                    the sequence goes on here

How bytes get from block to block, and who may still write where, is the cluster's business.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PinnedBlock:
    """A full, computed block with a reference of its own: its content stays until `unpin`."""

    index: int  # in the block table: it holds tokens index * block_size and on
    block_id: int
    epoch: int


@dataclass(frozen=True, slots=True)
class PausedSequence:
    """Where a paused sequence stands."""

    block_ids: tuple[int, ...]  # hold its first num_computed_tokens tokens; pinned until `unpin`
    num_computed_tokens: int
    output_token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class LeavingProgress:
    """What a step made of a sequence that is to leave.

    Attributes:
        blocks: full since the last time; all of them again after a preemption
        was_preempted: its blocks were taken away since the last time
        paused: it has its first token and stands still; its last, partly filled block is among
            those of `paused` alone, and each of those is pinned once more
    """

    seq_id: int
    blocks: tuple[PinnedBlock, ...]
    was_preempted: bool
    paused: PausedSequence | None

    @property
    def is_news(self) -> bool:
        return bool(self.blocks) or self.was_preempted or self.paused is not None


@dataclass(frozen=True, slots=True)
class BlockReservation:
    """Blocks for a sequence that is computed elsewhere: a block table cut in two."""

    cached_block_ids: tuple[int, ...]  # found in the prefix cache, valid; shared, never written
    fresh_block_ids: tuple[int, ...]  # to be written
    epochs: tuple[int, ...]  # of the fresh blocks
    num_cached_tokens: int  # held by the cached blocks

    @property
    def block_ids(self) -> tuple[int, ...]:
        return self.cached_block_ids + self.fresh_block_ids
