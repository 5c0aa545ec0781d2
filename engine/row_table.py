"""Which row of a device's tables belongs to which sequence, from one step to the next.

    rows:  | seq 7 | seq 3 | seq 9 |  unused ...      seq 3 leaves:  | seq 7 | seq 9 | ...

Rows are dense, so that a step reads the first ones, and stable, so that little is rewritten: a
sequence that leaves is replaced by the last one, a new one comes behind the last. Knows block
numbers, no tensors of a device.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from legato.engine.batch import ScheduledSequence


class RowTable:
    """Rows of block tables as they should be on the device, and what has changed in them.

    Attributes:
        block_tables: [max_rows, max_blocks] int32; the head of each used row is meaningful
        seq_ids: of the used rows
    """

    def __init__(self, max_rows: int, max_blocks: int) -> None:
        self.block_tables = np.zeros((max_rows, max_blocks), np.int32)
        self.seq_ids: list[int] = []
        self._row_of: dict[int, int] = {}
        self._tables: list[tuple[int, ...]] = []
        self._changes: list[tuple[int, int]] = []  # (row, first changed block)

    def update(self, sequences: Sequence[ScheduledSequence]) -> None:
        """Makes the rows those of a step's sequences."""
        present = {seq.seq_id for seq in sequences}
        for seq_id in [seq_id for seq_id in self.seq_ids if seq_id not in present]:
            self._remove(seq_id)
        for seq in sequences:
            row = self._row_of.get(seq.seq_id)
            if row is None:
                row = self._append(seq.seq_id)
            if self._tables[row] is not seq.block_table:
                self._write(row, seq.block_table)

    def grow(self, seq: ScheduledSequence) -> None:
        """Takes over a longer block table of a sequence that has a row."""
        self._write(self._row_of[seq.seq_id], seq.block_table)

    def take_changes(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Entries that have changed since the last call: flat indices, and their values."""
        if not self._changes:
            return np.empty(0, np.int64), np.empty(0, np.int32)
        width = self.block_tables.shape[1]
        first_of: dict[int, int] = {}
        for row, first in self._changes:
            first_of[row] = min(first, first_of.get(row, first))
        self._changes.clear()
        # A row that was changed and then left is not read.
        indices = [
            np.arange(row * width + first, row * width + len(self._tables[row]))
            for row, first in first_of.items()
            if row < len(self._tables)
        ]
        flat = np.concatenate(indices) if indices else np.empty(0, np.int64)
        return flat, self.block_tables.reshape(-1)[flat]

    def _append(self, seq_id: int) -> int:
        row = len(self.seq_ids)
        self.seq_ids.append(seq_id)
        self._tables.append(())
        self._row_of[seq_id] = row
        return row

    def _remove(self, seq_id: int) -> None:
        row, last_id = self._row_of.pop(seq_id), self.seq_ids.pop()
        last_table = self._tables.pop()
        if last_id != seq_id:
            self.seq_ids[row] = last_id
            self._row_of[last_id] = row
            self._tables[row] = ()
            self._write(row, last_table)

    def _write(self, row: int, table: tuple[int, ...]) -> None:
        known = self._tables[row]
        # A table that has grown keeps its head; one of another life of the sequence does not.
        first = len(known) if table[: len(known)] == known else 0
        self.block_tables[row, first : len(table)] = table[first:]
        self._tables[row] = table
        if first < len(table):
            self._changes.append((row, first))
