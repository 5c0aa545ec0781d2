"""Sequences that are to leave for another engine: what each step makes of them.

    step n    chunk      chunk      chunk + first token        (stay: as any other)
    told      blocks     blocks     blocks, and that it is paused

Such a sequence stands still at its first token, and is not planned beyond it: another engine may
go on from there at once. Told is what a step made of it, at the step's own end - whoever moves the
blocks is not to wait for the step that follows.

Knows block numbers and references, and neither bytes nor other engines.
"""

from collections.abc import Iterable

from legato.engine.batch import SequenceOutput
from legato.engine.block_pool import BlockPool
from legato.engine.handover import LeavingProgress, PausedSequence, PinnedBlock
from legato.engine.scheduler import Scheduler
from legato.engine.sequence import Sequence, SequenceStatus


class LeavingSequences:
    """Follows the sequences that were added as leaving, until they are gone or stay."""

    def __init__(self, scheduler: Scheduler, pool: BlockPool, block_size: int) -> None:
        self._scheduler = scheduler
        self._pool = pool
        self._block_size = block_size
        self._num_told: dict[int, int] = {}  # sequence -> blocks that were told of

    def add(self, seq: Sequence) -> None:
        """To be called before the sequence takes part in a step."""
        seq.is_held = True
        self._num_told[seq.seq_id] = 0

    def forget(self, seq_id: int) -> None:
        """The sequence stays; nothing more is told of it."""
        self._num_told.pop(seq_id, None)

    def progress(self, outputs: Iterable[SequenceOutput]) -> tuple[LeavingProgress, ...]:
        """What has become of each since the last call; pauses those with their first token.

        Args:
            outputs: of the step that was collected last
        """
        if not self._num_told:
            return ()
        first_tokens = {output.seq_id for output in outputs}
        told = []
        for seq_id in list(self._num_told):
            seq = self._scheduler.get(seq_id)
            if seq is None:
                del self._num_told[seq_id]
                continue
            progress = self._progress_of(seq, seq_id in first_tokens)
            if progress.is_news:
                told.append(progress)
        return tuple(told)

    def _progress_of(self, seq: Sequence, has_token: bool) -> LeavingProgress:
        first = self._num_told[seq.seq_id]
        num_full = seq.num_computed_tokens // self._block_size
        was_preempted = num_full < first
        if was_preempted:
            first = 0
        self._num_told[seq.seq_id] = num_full
        paused = None
        if has_token and seq.is_held and seq.status is SequenceStatus.RUNNING:
            self._scheduler.pause(seq)
            paused = self.pin_paused(seq)
        return LeavingProgress(seq.seq_id, self._pin(seq, first, num_full), was_preempted, paused)

    def _pin(self, seq: Sequence, first: int, end: int) -> tuple[PinnedBlock, ...]:
        block_ids = seq.block_table[first:end]
        self._pool.acquire(block_ids)
        return tuple(
            PinnedBlock(index, block_id, self._pool.epoch(block_id))
            for index, block_id in enumerate(block_ids, start=first)
        )

    def pin_paused(self, seq: Sequence) -> PausedSequence:
        """Where a paused sequence stands, with a pin on every block that it has computed tokens in.

        The blocks may be read even after the sequence is over, until they are unpinned.
        """
        num_blocks = -(-seq.num_computed_tokens // self._block_size)
        block_ids = seq.block_table[:num_blocks]
        self._pool.acquire(block_ids)
        return PausedSequence(block_ids, seq.num_computed_tokens, seq.output_token_ids)
