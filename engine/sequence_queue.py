"""Sequences in the order of their rank: the waiting ones, and the running ones."""

from bisect import bisect_left, insort
from collections.abc import Iterator

from legato.engine.sequence import Sequence


def _rank(seq: Sequence) -> tuple[float, int]:
    return seq.rank


class SequenceQueue:
    """A sorted list; ranks are unique and never change while a sequence is in it."""

    def __init__(self) -> None:
        self._sequences: list[Sequence] = []

    def __len__(self) -> int:
        return len(self._sequences)

    def __iter__(self) -> Iterator[Sequence]:
        return iter(self._sequences)

    @property
    def first(self) -> Sequence:
        return self._sequences[0]

    @property
    def last(self) -> Sequence:
        return self._sequences[-1]

    def add(self, seq: Sequence) -> None:
        insort(self._sequences, seq, key=_rank)

    def remove(self, seq: Sequence) -> None:
        index = bisect_left(self._sequences, seq.rank, key=_rank)
        assert self._sequences[index] is seq
        del self._sequences[index]
