"""Which steps the device may still be working on, and the blocks that they may still write.

    step    1   2   3   4 | 5   6 | 7
            collected     | under | next
                          | way   |

Steps are collected in the order in which they were launched, so that two numbers say it all. A
sequence may leave while a step with it is under way. Its blocks are kept until that step has been
collected: later steps would wait their turn on the device, but transfers from other workers do not.

It knows block numbers and step numbers, and no sequence.
"""

from collections.abc import Sequence

from legato.engine.block_pool import BlockPool


class StepsUnderWay:
    """Counts steps from launch to collection."""

    def __init__(self, pool: BlockPool) -> None:
        self._pool = pool
        self._num_launched = 0
        self._num_collected = 0
        self._kept: list[tuple[int, Sequence[int]]] = []  # (step, blocks until it is collected)

    @property
    def next_step(self) -> int:
        """The number of the step that will be launched next."""
        return self._num_launched + 1

    @property
    def num_under_way(self) -> int:
        return self._num_launched - self._num_collected

    @property
    def keeps_blocks(self) -> bool:
        """Whether collections will bring blocks back."""
        return len(self._kept) > 0

    def is_under_way(self, step: int) -> bool:
        return step > self._num_collected

    def launch(self) -> int:
        """The next step is on its way; returns its number."""
        self._num_launched += 1
        return self._num_launched

    def collect(self) -> int:
        """The oldest step under way has finished; returns its number. Its blocks are free now."""
        assert self._num_collected < self._num_launched, "collect() without a step under way"
        self._num_collected += 1
        kept, self._kept = self._kept, []
        for step, block_ids in kept:
            self.release_after(step, block_ids)
        return self._num_collected

    def release_after(self, step: int, block_ids: Sequence[int]) -> None:
        """Drops a reference on each block when `step` is collected: now, if it has been."""
        if self.is_under_way(step):
            self._kept.append((step, block_ids))
        else:
            self._pool.release(block_ids)
