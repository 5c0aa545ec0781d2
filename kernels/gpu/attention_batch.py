"""A step's sequences as the GPU's attention kernels read them.

    query rows:    | seq 0 | seq 1      | seq 2 |  padding  |
    query_starts:  0       1            5       6             context_lens: 17, 4, 30

A sequence with one query is decode work, one with more is prefill work; both may be in one step, in
any order. Only the sizes of the tensors are fixed when a CUDA graph is captured: what is in them
may be anything that fits, so nothing here may be read by the host.
"""

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, eq=False)
class AttentionBatch:
    """All int32, on the pool's device.

    Attributes:
        query_starts: [sequences + 1] row of each sequence's first query; the last entry is the
            number of rows in use. Rows from there on are padding, and so are sequences without
            a query.
        context_lens: [sequences] tokens after the step, those of the step included; 0 for padding
        block_tables: [sequences, max_blocks]; entries beyond a sequence's context are not read
    """

    query_starts: torch.Tensor
    context_lens: torch.Tensor
    block_tables: torch.Tensor

    @property
    def max_sequences(self) -> int:
        """Sequences that there may be, padding included."""
        return self.context_lens.shape[0]
