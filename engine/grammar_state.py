"""How far the answer of one sequence has come in its grammar, and which tokens may come next.

    tokens     "{"  "a"  "}"  EOS
    is_over    no   no   yes  yes       nothing may follow but EOS, or there it is

The state is a function of grammar and output tokens: an engine that takes a sequence over builds
it from them. A grammar that cannot go on - it has become too complex, or no token of the vocabulary
fits - has failed: it allows EOS, so that the sequence comes to an end.
"""

from collections.abc import Sequence

import numpy as np
from llguidance import LLExecutor, LLMatcher, LLTokenizer
from numpy.typing import NDArray

_WORD_BITS = 32


class GrammarState:
    """Owns the matcher of one sequence.

    Attributes:
        matcher: llguidance's
        end_ids: the tokens that end an answer: allowed where the grammar may end, and only there
        num_words: of its masks
    """

    def __init__(
        self, matcher: LLMatcher, vocabulary: LLTokenizer, output_token_ids: Sequence[int] = ()
    ) -> None:
        self.matcher = matcher
        self.end_ids = tuple(vocabulary.eos_tokens)
        self.num_words = -(-vocabulary.vocab_size // _WORD_BITS)
        if output_token_ids:
            matcher.consume_tokens(list(output_token_ids))

    def accept(self, token_id: int) -> None:
        """Goes one output token further."""
        self.matcher.consume_token(token_id)

    @property
    def is_over(self) -> bool:
        return self.matcher.is_stopped()

    @property
    def has_failed(self) -> bool:
        return self.matcher.is_error()


class MaskWriter:
    """Computes the masks of many sequences at a time, on threads of its own."""

    def __init__(self, num_threads: int) -> None:
        self._num_threads = num_threads
        self._executor: LLExecutor | None = None  # most engines never need the threads

    def write(
        self,
        masks: NDArray[np.int32],
        states: Sequence[GrammarState],
        banned_token_ids: Sequence[Sequence[int]],
    ) -> None:
        """Writes one mask for each state.

        Args:
            masks: [states, ceil(vocab / 32)]; bit t % 32 of word t / 32: token t is allowed. The
                tokenizer may know more tokens than there is room for.
            states: at least one, all of one vocabulary
            banned_token_ids: for each state, tokens that are not allowed while others are
        """
        if self._executor is None:
            self._executor = LLExecutor(self._num_threads)
        matchers = [(state.matcher, row) for row, state in enumerate(states)]
        whole = np.empty((len(states), states[0].num_words), np.int32)
        row_bytes = whole.shape[1] * whole.itemsize
        self._executor.unsafe_compute_mask_ptr(matchers, whole.ctypes.data, row_bytes, len(states))
        masks[:] = whole[:, : masks.shape[1]]
        if masks.shape[1] < whole.shape[1]:
            masks[~masks.any(axis=1)] = -1  # something must be sampled; it will be a failure
        for mask, banned in zip(masks, banned_token_ids, strict=True):
            if banned:
                ban_tokens(mask, np.array(banned))


def ban_tokens(mask: NDArray[np.int32], token_ids: NDArray[np.int64]) -> None:
    """Takes the tokens out of the mask, unless nothing would be left."""
    words = mask.view(np.uint32)
    token_ids = token_ids[token_ids < len(words) * _WORD_BITS]
    left = words.copy()
    bits = np.uint32(1) << (token_ids % _WORD_BITS).astype(np.uint32)
    np.bitwise_and.at(left, token_ids // _WORD_BITS, ~bits)
    if left.any():
        words[:] = left
