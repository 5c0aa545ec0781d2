"""A step's inputs on the device: tensors that stay where they are, so that a graph can read them.

    sequences   row by row (row_table.py): query_starts, context_lens, block_tables
    tokens      sequence after sequence: token_ids; or sources, the sampled token that stands in for
                one which the host does not know yet
    samples     one for each sequence that samples: sampling_rows, and what sampling_state.py holds

A batch is written by the host and goes over in one copy. Where a batch of sequences with one token
each goes on unchanged, nothing goes over at all: the device has advanced its own state at the end
of the step before.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from legato.engine.batch import ScheduledBatch, ScheduledSequence
from legato.engine.packed_buffers import Field, PackedBuffers
from legato.engine.row_table import RowTable
from legato.engine.sampling_state import SamplingState, sampling_fields
from legato.kernels.attention_plan import BatchLayout
from legato.kernels.backend import Kernels
from legato.kernels.gpu.attention_batch import AttentionBatch

NOT_SAMPLED = -1  # in `sources`: the token id is given


@dataclass(frozen=True, slots=True)
class StepLimits:
    """What the tensors are made for."""

    max_num_seqs: int
    max_num_batched_tokens: int
    max_blocks: int  # of one sequence
    vocab_size: int
    num_eos_tokens: int = 0  # that a sequence may have to be kept from


@dataclass(frozen=True, slots=True)
class StepShape:
    """How much of the tensors a step uses."""

    num_tokens: int
    num_sequences: int
    num_samples: int
    is_decode: bool  # each sequence has one token, and samples


class StepState:
    """Owns the tensors; `fill` makes them those of a batch."""

    def __init__(self, limits: StepLimits, kernels: Kernels, device: torch.device) -> None:
        rows, tokens = limits.max_num_seqs, limits.max_num_batched_tokens
        fields = {
            "query_starts": Field("int32", (rows + 1,)),
            "context_lens": Field("int32", (rows,)),
            "sampling_rows": Field("int32", (rows,)),
            **sampling_fields(rows),
            "token_ids": Field("int32", (tokens,)),
            "sources": Field("int32", (tokens,)),
        }
        self.limits = limits
        self._buffers = PackedBuffers(fields, device)
        self._rows = RowTable(rows, limits.max_blocks)
        self._block_tables = torch.zeros(rows, limits.max_blocks, dtype=torch.int32, device=device)
        self.sampling = SamplingState(
            self._buffers, kernels, limits.vocab_size, limits.num_eos_tokens
        )
        self.sampled = torch.zeros(rows, dtype=torch.int64, device=device)
        self._sample_of: dict[int, int] = {}  # sequence -> its place in `sampled`
        self._order = np.empty(0, np.int64)
        self._num_top_logprobs: tuple[int | None, ...] | None = None
        self._shape = StepShape(0, 0, 0, False)

    def device_tensor(self, name: str) -> torch.Tensor:
        """One of the packed fields."""
        return self._buffers.device[name]

    def attention_batch(self, num_sequences: int) -> AttentionBatch:
        return AttentionBatch(
            query_starts=self._buffers.device["query_starts"][: num_sequences + 1],
            context_lens=self._buffers.device["context_lens"][:num_sequences],
            block_tables=self._block_tables[:num_sequences],
        )

    def layout(self) -> BatchLayout:
        """The batch as the host knows it."""
        count = self._shape.num_sequences
        starts = torch.from_numpy(self._buffers.host["query_starts"][: count + 1].astype(np.int64))
        context_lens = self._buffers.host["context_lens"][:count].astype(np.int64)
        tables = self._rows.block_tables[:count].astype(np.int64)
        return BatchLayout(starts.diff(), torch.from_numpy(context_lens), torch.from_numpy(tables))

    @property
    def sample_order(self) -> NDArray[np.int64]:
        """For each sampling sequence of the batch, in its order: the place of its sample."""
        return self._order

    @property
    def num_top_logprobs(self) -> tuple[int | None, ...] | None:
        """For each sampling sequence of the batch, what PendingLogprobs says; None: nobody asks."""
        return self._num_top_logprobs

    def first_rows(self, seq_ids: Sequence[int]) -> list[int]:
        """The rows of sequences' first tokens among all of the step's."""
        starts = self._buffers.host["query_starts"]
        return [int(starts[self._rows.seq_ids.index(seq_id)]) for seq_id in seq_ids]

    def fill(self, batch: ScheduledBatch) -> StepShape:
        """Makes the tensors those of the batch."""
        if batch.continuation is not None and self._shape.is_decode:
            # The device has made this step's inputs itself, at the end of the last one.
            for place in batch.continuation.grown:
                self._rows.grow(batch.sequences[place])
            self._advance()
        else:
            self._rows.update(batch.sequences)
            self._rewrite(batch)
            self._buffers.upload()
        self._upload_tables()
        return self._shape

    def _advance(self) -> None:
        count = self._shape.num_sequences
        self._buffers.host["context_lens"][:count] += 1
        self.sampling.advance(count)

    def _rewrite(self, batch: ScheduledBatch) -> None:
        by_id = {seq.seq_id: seq for seq in batch.sequences}
        ordered = [by_id[seq_id] for seq_id in self._rows.seq_ids]
        num_tokens = self._write_sequences(ordered)
        self._write_tokens(ordered)
        sampling = [(row, seq) for row, seq in enumerate(ordered) if seq.sampling is not None]
        host = self._buffers.host
        host["sampling_rows"][: len(sampling)] = [
            host["query_starts"][row + 1] - 1 for row, _ in sampling
        ]
        host["sampling_rows"][len(sampling) :] = 0
        seq_ids = [seq.seq_id for _, seq in sampling]
        self.sampling.fill(seq_ids, [seq.sampling for _, seq in sampling if seq.sampling])
        self._sample_of = {seq_id: index for index, seq_id in enumerate(seq_ids)}
        self._order = np.array(
            [self._sample_of[seq.seq_id] for seq in batch.sequences if seq.sampling is not None],
            np.int64,
        )
        num_top = tuple(s.sampling.params.logprobs for s in batch.sequences if s.sampling)
        self._num_top_logprobs = num_top if any(n is not None for n in num_top) else None
        is_decode = num_tokens == len(ordered) == len(sampling)
        self._shape = StepShape(num_tokens, len(ordered), len(sampling), is_decode)

    def _write_sequences(self, ordered: list[ScheduledSequence]) -> int:
        host, count = self._buffers.host, len(ordered)
        num_tokens = np.array([seq.num_tokens for seq in ordered], np.int32)
        ends = num_tokens.cumsum(dtype=np.int32)
        host["query_starts"][1 : count + 1] = ends
        host["query_starts"][count + 1 :] = ends[-1]
        host["context_lens"][:count] = num_tokens + [seq.start for seq in ordered]
        host["context_lens"][count:] = 0
        return int(ends[-1])

    def _write_tokens(self, ordered: list[ScheduledSequence]) -> None:
        host, token = self._buffers.host, 0
        host["sources"][:] = NOT_SAMPLED
        for seq in ordered:
            if seq.takes_sampled:
                host["sources"][token] = self._sample_of[seq.seq_id]
            else:
                host["token_ids"][token : token + len(seq.token_ids)] = seq.token_ids
            token += seq.num_tokens
        host["token_ids"][token:] = 0

    def _upload_tables(self) -> None:
        indices, values = self._rows.take_changes()
        if not len(indices):
            return
        flat, on_gpu = self._block_tables.view(-1), self._block_tables.is_cuda
        staged = torch.empty(2, len(indices), dtype=torch.int64, pin_memory=on_gpu)
        staged.numpy()[:] = indices, values
        where, what = staged.to(flat.device, non_blocking=True)
        flat.index_copy_(0, where, what.to(flat.dtype))
