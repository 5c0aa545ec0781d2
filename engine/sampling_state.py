"""What the rows of a step ask of the sampler, as tensors that stay where they are.

Rows are those that sample, in the order in which the step's state puts them. Small fields travel
with the step's other buffers (packed_buffers.py); token counts, biases and masks are large, stay
on the device, and are written only for rows that use them.
"""

from collections.abc import Sequence

import numpy as np
import torch

from legato.engine.batch import SamplingInput
from legato.engine.count_slots import CountSlots
from legato.engine.packed_buffers import Field, PackedBuffers
from legato.engine.sampling_masks import SamplingMasks, has_mask
from legato.engine.sampling_params import (
    MAX_BAD_SEQUENCES,
    MAX_LOGIT_BIAS,
    MAX_STOP_TOKEN_IDS,
)
from legato.kernels.backend import Kernels
from legato.kernels.sampling_rows import SamplingRows

# Of one request; EOS ids come on top.
_MAX_ASKED_BIASES = MAX_LOGIT_BIAS + MAX_STOP_TOKEN_IDS + MAX_BAD_SEQUENCES
_FLOATS = {
    "temperatures": "temperature",
    "top_ps": "top_p",
    "min_ps": "min_p",
    "presence_penalties": "presence_penalty",
    "frequency_penalties": "frequency_penalty",
    "repetition_penalties": "repetition_penalty",
}
_INTEGERS = ("top_ks", "count_slots", "num_biases", "has_mask")
_LONGS = ("seeds", "positions")


def sampling_fields(max_rows: int) -> dict[str, Field]:
    """The fields that a step's packed buffers must have."""
    return {
        **dict.fromkeys(_FLOATS, Field("float32", (max_rows,))),
        **dict.fromkeys(_INTEGERS, Field("int32", (max_rows,))),
        **dict.fromkeys(_LONGS, Field("int64", (max_rows,))),
    }


class SamplingState:
    """Keeps one engine's sampling tensors."""

    def __init__(
        self, buffers: PackedBuffers, kernels: Kernels, vocab_size: int, num_eos_tokens: int
    ) -> None:
        self._buffers = buffers
        self._kernels = kernels
        self._vocab_size = vocab_size
        max_rows = buffers.host["seeds"].shape[0]
        device = buffers.device["seeds"].device
        self._counts = torch.empty(max_rows, vocab_size, dtype=torch.int16, device=device)
        max_biases = _MAX_ASKED_BIASES + num_eos_tokens
        self._bias_ids = torch.zeros(max_rows, max_biases, dtype=torch.int32, device=device)
        self._bias_values = torch.zeros(max_rows, max_biases, device=device)
        self._masks = SamplingMasks(max_rows, vocab_size, device)
        self._slots = CountSlots(max_rows)
        self.fill((), ())

    def rows(self, num_rows: int) -> SamplingRows:
        """The first rows, as the kernels take them."""
        packed = {name: self._buffers.device[name][:num_rows] for name in sampling_fields(0)}
        return SamplingRows(
            **packed,
            token_counts=self._counts,
            bias_token_ids=self._bias_ids[:num_rows],
            bias_values=self._bias_values[:num_rows],
            masks=self._masks.tensor[:num_rows],
        )

    def fill(self, seq_ids: Sequence[int], inputs: Sequence[SamplingInput]) -> None:
        """Writes the host's buffers for these rows; the rest become padding."""
        host, count = self._buffers.host, len(inputs)
        for name, param in _FLOATS.items():
            host[name][:count] = [getattr(given.params, param) for given in inputs]
        host["temperatures"][count:] = 0  # a padding row is greedy
        host["top_ks"][:count] = [self._top_k(given.params.top_k) for given in inputs]
        host["seeds"][:count] = [_as_int64(given.seed) for given in inputs]
        host["positions"][:count] = [given.position for given in inputs]
        host["has_mask"][:] = 0
        host["has_mask"][self._masks.fill(seq_ids, inputs)] = 1
        self._fill_counts(seq_ids, inputs)
        self._fill_biases(inputs)

    def fill_masks(self) -> None:
        """Computes the masks of the rows that have one, and starts to copy them to the device.

        The last that the sampler needs: the device may compute the step's tokens meanwhile.
        """
        self._masks.write()

    def advance(self, num_rows: int) -> None:
        """Notes on the host that each row samples its next token, as the device has done."""
        self._buffers.host["positions"][:num_rows] += 1
        self._slots.advance()

    def _top_k(self, top_k: int) -> int:
        return min(top_k, self._vocab_size) if top_k > 0 else self._vocab_size

    def _fill_counts(self, seq_ids: Sequence[int], inputs: Sequence[SamplingInput]) -> None:
        slots = self._buffers.host["count_slots"]
        slots[:] = -1
        for row, (seq_id, given) in enumerate(zip(seq_ids, inputs, strict=True)):
            if not given.params.has_penalties:
                continue
            slots[row], is_stale = self._slots.take(seq_id, given.position, seq_ids)
            if is_stale:
                tokens = (given.prompt_token_ids, given.output_token_ids)
                ids = (
                    torch.tensor(t, dtype=torch.int64, device=self._counts.device) for t in tokens
                )
                self._kernels.set_counts_(self._counts, int(slots[row]), *ids)

    def _fill_biases(self, inputs: Sequence[SamplingInput]) -> None:
        counts = self._buffers.host["num_biases"]
        counts[:] = 0
        biases = {row: found for row, given in enumerate(inputs) if (found := _biases(given))}
        if not biases:
            return
        width = max(map(len, biases.values()))
        token_ids = np.zeros((max(biases) + 1, width), np.int32)
        values = np.zeros(token_ids.shape, np.float32)
        for row, found in biases.items():
            counts[row] = len(found)
            token_ids[row, : len(found)] = list(found)
            values[row, : len(found)] = list(found.values())
        for target, source in ((self._bias_ids, token_ids), (self._bias_values, values)):
            target[: token_ids.shape[0], :width].copy_(torch.from_numpy(source))


def _biases(given: SamplingInput) -> dict[int, float]:
    """What is added to the logits of single tokens; minus infinity bans one."""
    bans = dict.fromkeys(() if has_mask(given) else given.banned_token_ids, float("-inf"))
    return {**given.params.logit_bias, **bans}


def _as_int64(seed: int) -> int:
    """The same 64 bits as a signed number."""
    return (seed + (1 << 63)) % (1 << 64) - (1 << 63)
