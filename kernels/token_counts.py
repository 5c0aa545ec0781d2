"""Which tokens a sequence has seen, for its penalties: one int16 for each token and sequence.

    bit 15               bits 0..14
    [is in the prompt] [ times in the output, at most 32767 ]

The value is negative exactly for tokens of the prompt, zero exactly for tokens never seen.
"""

import torch

from legato.kernels.sampling_rows import SamplingRows

MAX_COUNT = 0x7FFF
IN_PROMPT = -0x8000


def count_tokens_(token_ids: torch.Tensor, rows: SamplingRows) -> None:
    """Counts one more output token for each row that has a slot.

    Args:
        token_ids: [rows] int64
    """
    has_slot = rows.count_slots >= 0
    slots, tokens = rows.count_slots[has_slot].long(), token_ids[has_slot]
    counts = rows.token_counts[slots, tokens]
    is_full = (counts & MAX_COUNT) == MAX_COUNT
    rows.token_counts[slots, tokens] = torch.where(is_full, counts, counts + 1)


def set_counts_(
    token_counts: torch.Tensor,
    slot: int,
    prompt_token_ids: torch.Tensor,
    output_token_ids: torch.Tensor,
) -> None:
    """Gives a slot to a sequence, whatever was in it; made of torch operations on any device.

    Args:
        token_counts: [slots, vocab] int16
        prompt_token_ids, output_token_ids: [any number] int64, on the same device
    """
    counts = torch.zeros(token_counts.shape[1], dtype=torch.int32, device=token_counts.device)
    ones = torch.ones((), dtype=torch.int32, device=counts.device).expand(len(output_token_ids))
    counts.index_add_(0, output_token_ids, ones).clamp_(max=MAX_COUNT)
    token_counts[slot] = counts
    # Adding the sign would add it twice to tokens that the prompt has twice.
    token_counts[slot, prompt_token_ids] |= IN_PROMPT


def output_counts(counts: torch.Tensor) -> torch.Tensor:
    """Times that each token is in the output, in the type of `counts`."""
    return counts & MAX_COUNT
