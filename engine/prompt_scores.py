"""How likely a model finds the tokens of a sequence's prompt, as far as it has been computed.

    prompt   t0   t1   t2   t3   t4         row i of the prompt says how likely t(i+1) is: the last
    rows     0 ── 1 ── 2 ── 3 ── 4          row says it of the answer, and is none of these
             known ───>│ under way          num_known = 2: of t1 and t2

Rows become known in order. One that is known need not be computed again: only so much of the prompt
may come from the prefix cache, and after a preemption nothing is lost.
"""

from collections.abc import Sequence

from legato.engine.batch import ScoredRows, TokenLogprobs


class PromptScores:
    """What one sequence has; it ends when the first token is there.

    Args:
        num_top: likeliest tokens to name at each position
    """

    def __init__(self, prompt_token_ids: Sequence[int], num_top: int) -> None:
        self._prompt_token_ids = prompt_token_ids
        self._num_top = num_top
        self._known: list[TokenLogprobs] = []

    @property
    def num_known(self) -> int:
        return len(self._known)

    @property
    def known(self) -> tuple[TokenLogprobs, ...]:
        return tuple(self._known)

    def rows(self, start: int, end: int) -> ScoredRows | None:
        """Those that a step has to score when it computes the tokens start..end-1."""
        first = max(start, self.num_known)
        token_ids = tuple(self._prompt_token_ids[first + 1 : end + 1])
        return ScoredRows(first - start, token_ids, self._num_top) if token_ids else None

    def take(self, scores: Sequence[TokenLogprobs]) -> None:
        """The next rows are known."""
        self._known += scores
