"""Which tokens the rows of a step may sample, where that is not all of them.

    grammar             what may follow, anew in each step     ─┐
    allowed_token_ids   the same in each step                  ─┴─ less the bans ──> masks

Both are masks, so a row has one of them. A mask stays on the device for as long as its row goes on
unchanged.
"""

import os
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from legato.engine.batch import SamplingInput
from legato.engine.grammar_state import MaskWriter, ban_tokens
from legato.kernels.sampling_rows import MASK_BITS

MAX_MASK_THREADS = 8


def has_mask(given: SamplingInput) -> bool:
    """Whether a row obeys a mask; its bans are in it then."""
    return given.grammar is not None or given.params.allowed_token_ids is not None


class SamplingMasks:
    """Owns the masks on the device.

    Attributes:
        tensor: [max_rows, ceil(vocab / 32)] int32, see `SamplingRows.masks`
    """

    def __init__(self, max_rows: int, vocab_size: int, device: torch.device) -> None:
        num_words = -(-vocab_size // MASK_BITS)
        self.tensor = torch.zeros(max_rows, num_words, dtype=torch.int32, device=device)
        self._writer = MaskWriter(_num_mask_threads())
        self._seq_ids: Sequence[int] = ()
        self._unwritten: dict[int, SamplingInput] = {}  # row -> what its mask is to be
        self._allowed: dict[int, NDArray[np.int32]] = {}  # sequence -> mask, bans not taken out

    def fill(self, seq_ids: Sequence[int], inputs: Sequence[SamplingInput]) -> list[int]:
        """Takes note of what the rows ask for; returns those with a mask."""
        self._unwritten = {row: given for row, given in enumerate(inputs) if has_mask(given)}
        self._allowed = {
            seq_ids[row]: self._allowed_mask(seq_ids[row], given.params.allowed_token_ids)
            for row, given in self._unwritten.items()
            if given.params.allowed_token_ids is not None
        }
        self._seq_ids = seq_ids
        return list(self._unwritten)

    def write(self) -> None:
        """Computes the masks that `fill` has noted, and starts to copy them to the device."""
        if not self._unwritten:
            return
        unwritten, self._unwritten = self._unwritten, {}
        device, on_gpu = self.tensor.device, self.tensor.is_cuda
        shape = len(unwritten), self.tensor.shape[1]
        staged = torch.empty(shape, dtype=self.tensor.dtype, pin_memory=on_gpu)
        held = {row: given for row, given in unwritten.items() if given.grammar is not None}
        others = {row: given for row, given in unwritten.items() if given.grammar is None}
        self._write_held(staged.numpy()[: len(held)], list(held.values()))
        for mask, (row, given) in zip(staged.numpy()[len(held) :], others.items(), strict=True):
            mask[:] = self._allowed[self._seq_ids[row]]
            if given.banned_token_ids:
                ban_tokens(mask, np.array(given.banned_token_ids))
        rows = torch.tensor([*held, *others], pin_memory=on_gpu)
        self.tensor.index_copy_(
            0, rows.to(device, non_blocking=True), staged.to(device, non_blocking=True)
        )

    def _write_held(self, masks: NDArray[np.int32], held: Sequence[SamplingInput]) -> None:
        states = [given.grammar for given in held if given.grammar is not None]
        if states:
            self._writer.write(masks, states, [given.banned_token_ids for given in held])

    def _allowed_mask(self, seq_id: int, token_ids: Sequence[int]) -> NDArray[np.int32]:
        known = self._allowed.get(seq_id)
        if known is not None:
            return known
        is_allowed = np.zeros(self.tensor.shape[1] * MASK_BITS, bool)
        is_allowed[list(token_ids)] = True
        return np.packbits(is_allowed, bitorder="little").view(np.int32)


def _num_mask_threads() -> int:
    """Half of the processors that this process may use: torch and the server need some."""
    return max(1, min(MAX_MASK_THREADS, len(os.sched_getaffinity(0)) // 2))
