"""Log probabilities of the tokens of prompts, from the hidden states of all rows of a step.

    hidden states of scored rows --| slice | slice | slice |--> logits --> what is asked of them

Logits of a whole prompt would not fit: they are computed a slice at a time, always of the same
size, for which kernels are compiled. Only steps that somebody asks it of come here.
"""

import torch

from legato.engine.batch import ScheduledBatch
from legato.engine.pending_step import PendingScores, to_host
from legato.engine.step_halves import StepHalves
from legato.engine.step_state import StepState
from legato.kernels.backend import Kernels

MAX_SLICE_ROWS = 64


class PromptScorer:
    """Follows a step's body; leaves what the tail reads as it is."""

    def __init__(self, halves: StepHalves, kernels: Kernels, state: StepState) -> None:
        self._halves = halves
        self._kernels = kernels
        self._state = state
        self._slice_rows = min(MAX_SLICE_ROWS, state.limits.max_num_seqs)

    def score(self, hidden: torch.Tensor, batch: ScheduledBatch) -> PendingScores:
        """Scores the rows that the batch's sequences ask for.

        Args:
            hidden: [tokens or more, hidden] of the step that the state is filled with
        """
        scored = {seq.seq_id: seq.scored for seq in batch.sequences if seq.scored is not None}
        starts = self._state.first_rows(list(scored))
        rows: list[int] = []
        token_ids: list[int] = []
        for start, asked in zip(starts, scored.values(), strict=True):
            first = start + asked.first
            rows += range(first, first + len(asked.token_ids))
            token_ids += asked.token_ids
        num_top = max(asked.num_top for asked in scored.values())
        columns = self._score(hidden, rows, token_ids, num_top)
        return PendingScores(tuple(to_host(column[: len(rows)]) for column in columns), scored)

    def _score(
        self, hidden: torch.Tensor, rows: list[int], token_ids: list[int], num_top: int
    ) -> list[torch.Tensor]:
        """The columns of `kernels.token_logprobs`, with padding behind the last row."""
        num_missing = -len(rows) % self._slice_rows
        padding = [0] * num_missing
        staged = torch.tensor([rows + padding, token_ids + padding], pin_memory=hidden.is_cuda)
        where, chosen = staged.to(hidden.device, non_blocking=True)
        num_top = min(num_top, self._state.limits.vocab_size)
        slices = [
            self._kernels.token_logprobs(
                self._halves.logits(hidden.index_select(0, part)), tokens, num_top
            )
            for part, tokens in zip(
                where.split(self._slice_rows), chosen.split(self._slice_rows), strict=True
            )
        ]
        return [torch.cat(column) for column in zip(*slices, strict=True)]
