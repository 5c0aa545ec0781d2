"""Adds up hidden states of prompts' rows, for those who want a vector instead of an answer."""

import torch

from legato.engine.batch import ScheduledBatch
from legato.engine.pending_step import PendingPools, to_host
from legato.engine.step_halves import StepHalves
from legato.engine.step_state import StepState


class PromptPooler:
    """Follows a step's body; leaves what the tail reads as it is."""

    def __init__(self, halves: StepHalves, state: StepState) -> None:
        self._halves = halves
        self._state = state

    def pool(self, hidden: torch.Tensor, batch: ScheduledBatch) -> PendingPools:
        """Adds up the rows that the batch's sequences ask for, behind the model's last norm.

        Args:
            hidden: [tokens or more, hidden] of the step that the state is filled with
        """
        pooled = {seq.seq_id: seq.pooled for seq in batch.sequences if seq.pooled is not None}
        normed = self._halves.normed(hidden)
        sums = []
        for start, rows in zip(self._state.first_rows(list(pooled)), pooled.values(), strict=True):
            first = start + rows.first
            sums.append(normed[first : first + rows.number].sum(dim=0, dtype=torch.float32))
        return PendingPools(to_host(torch.stack(sums)), tuple(pooled))
