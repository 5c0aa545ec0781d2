"""What each row of a step asks of sampling, as tensors that a CUDA graph can be replayed over.

    row 0: greedy            temperatures  0    0.8   0
    row 1: a draw, with      top_ks        V    50    V       V: vocabulary, keeps all
           penalties         count_slots  -1     3   -1   -->  token_counts[3], [vocab] int16
    row 2: padding           num_biases    0     2    0   -->  the first 2 of bias_token_ids[1]

Nothing here may be read by the host: only the sizes are fixed, what is in the tensors may change
between replays. The counts of a sequence stay in one slot for as long as it lives, in whatever
row it is; what a count looks like is known to `legato.kernels.token_counts`.
"""

from dataclasses import dataclass

import torch

MASK_BITS = 32  # tokens that share a word of a mask


@dataclass(frozen=True, slots=True, eq=False)
class SamplingRows:
    """One entry for each row, all contiguous and on one device.

    Attributes:
        temperatures: [rows] float32; 0: the likeliest token, filters and seed do not matter
        top_ks: [rows] int32 in 1..vocab; vocab keeps all
        top_ps: [rows] float32, share of the probability that top-k leaves; 1 keeps all
        min_ps: [rows] float32, share of the likeliest token's probability; 0 keeps all
        seeds: [rows] int64, any value
        positions: [rows] int64, index of the output token to be drawn
        presence_penalties, frequency_penalties: [rows] float32; 0: none
        repetition_penalties: [rows] float32; 1: none
        count_slots: [rows] int32, the row's slot in `token_counts`; -1: no penalties. No two rows
            share a slot.
        token_counts: [slots, vocab] int16, see `legato.kernels.token_counts`
        bias_token_ids: [rows, max_biases] int32; a row names a token once at most
        bias_values: [rows, max_biases] float32; -inf bans the token
        num_biases: [rows] int32, how many of a row's entries count
        masks: [rows, ceil(vocab / 32)] int32; bit t % 32 of word t / 32: token t is allowed
        has_mask: [rows] int32; 1: obey the row's mask, 0: it may be anything
    """

    temperatures: torch.Tensor
    top_ks: torch.Tensor
    top_ps: torch.Tensor
    min_ps: torch.Tensor
    seeds: torch.Tensor
    positions: torch.Tensor
    presence_penalties: torch.Tensor
    frequency_penalties: torch.Tensor
    repetition_penalties: torch.Tensor
    count_slots: torch.Tensor
    token_counts: torch.Tensor
    bias_token_ids: torch.Tensor
    bias_values: torch.Tensor
    num_biases: torch.Tensor
    masks: torch.Tensor
    has_mask: torch.Tensor

    @property
    def num_rows(self) -> int:
        return self.temperatures.shape[0]
