"""One vector for a whole prompt, out of the hidden states of its tokens, as far as it is computed.

    last   the state of the last token, which has seen all others: the prefix cache may help
    mean   of the states of all tokens: all must be computed
           rows   0 ── 1 ── 2 ── 3 ── 4
           sum    ────── known ─>│ under way

Rows become known in order, and only once each.
"""

import numpy as np

from legato.engine.batch import PooledRows
from legato.engine.sampling_params import Pooling


class PromptPool:
    """What one sequence has; its first token means that all is known."""

    def __init__(self, num_prompt_tokens: int, pooling: Pooling) -> None:
        self._num_rows = num_prompt_tokens
        self._num_known = 0
        self._is_mean = pooling is Pooling.MEAN
        self._sum: np.ndarray[tuple[int], np.dtype[np.float32]] | None = None

    @property
    def num_reusable(self) -> int:
        """Tokens of the prompt that need not be computed, if they are cached."""
        return self._num_known if self._is_mean else self._num_rows

    def rows(self, start: int, end: int) -> PooledRows | None:
        """Those that a step has to add up when it computes the tokens start..end-1."""
        first = max(start, self._num_known if self._is_mean else self._num_rows - 1)
        number = min(end, self._num_rows) - first
        return PooledRows(first - start, number) if number > 0 else None

    def take(self, rows: PooledRows, sums: bytes) -> None:
        """The next rows are known; `sums` is what PendingPools gives."""
        vector = np.frombuffer(sums, "<f4")
        self._sum = vector if self._sum is None else self._sum + vector
        self._num_known += rows.number

    @property
    def embedding(self) -> bytes:
        """The vector, as little-endian float32."""
        assert self._sum is not None, "the prompt has not been computed"
        whole = self._sum / self._num_known
        return whole.astype("<f4").tobytes()
