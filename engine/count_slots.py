"""Which sequences have a row in the device's table of token counts.

Only sequences with penalties need one. A row follows its sequence from step to step: the device
counts what it samples. Where that has been interrupted - a sequence that was preempted, paused or
dropped out of a step's result - the row is built anew from the tokens that the host knows.
"""

from collections.abc import Collection


class CountSlots:
    """Hands out rows of the table of token counts."""

    def __init__(self, num_slots: int) -> None:
        self._free = list(range(num_slots))
        self._slot_of: dict[int, int] = {}
        self._next_position: dict[int, int] = {}

    def take(self, seq_id: int, position: int, present: Collection[int]) -> tuple[int, bool]:
        """The sequence's row for sampling at `position`, and whether it must be built first.

        Args:
            present: sequences of this step, whose rows are not taken away; at most `num_slots`
        """
        slot = self._slot_of.get(seq_id)
        is_stale = slot is None or self._next_position[seq_id] != position
        if slot is None:
            if not self._free:
                self._evict(present)
            slot = self._slot_of[seq_id] = self._free.pop()
        self._next_position[seq_id] = position + 1
        return slot, is_stale

    def advance(self) -> None:
        """Every row's sequence samples once more."""
        for seq_id in self._next_position:
            self._next_position[seq_id] += 1

    def _evict(self, present: Collection[int]) -> None:
        for seq_id in [seq_id for seq_id in self._slot_of if seq_id not in present]:
            self._free.append(self._slot_of.pop(seq_id))
            del self._next_position[seq_id]
