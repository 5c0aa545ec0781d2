"""From logits to tokens, and the parts of it; rows never influence each other.

    logits -> + bias -> penalties -> mask -> / temperature -> min-p -> top-k -> top-p -> draw

Ties count as one: a filter that keeps a value keeps all tokens of exactly this value, so the
outcome does not depend on how a sort orders equal values.
"""

import torch

from legato.kernels.random import exponential_noise
from legato.kernels.sampling_rows import MASK_BITS, SamplingRows
from legato.kernels.token_counts import output_counts


def sample(logits: torch.Tensor, rows: SamplingRows) -> torch.Tensor:
    """Samples one token for each row; `logits` are left as they are.

    Reads on the host what the rows ask for, and skips what none does.

    Args:
        logits: [rows, vocab] float32, bfloat16 or float16

    Returns:
        [rows] int64
    """
    adjusted = adjust_logits(logits, rows)
    token_ids = adjusted.argmax(dim=-1)
    random = (rows.temperatures > 0).nonzero()[:, 0]
    if len(random):
        distribution = filter_logits(adjusted[random], rows, random)
        noise = exponential_noise(rows.seeds[random], rows.positions[random], logits.shape[1])
        token_ids[random] = draw(distribution, noise)
    return token_ids


def adjust_logits(logits: torch.Tensor, rows: SamplingRows) -> torch.Tensor:
    """New logits in float32 with every row's bias, penalties and mask applied."""
    adjusted = logits.to(torch.float32, copy=True)
    entries = torch.arange(rows.bias_token_ids.shape[1], device=logits.device)
    biased, entry = (entries < rows.num_biases[:, None]).nonzero(as_tuple=True)
    tokens = rows.bias_token_ids[biased, entry].long()
    adjusted[biased, tokens] += rows.bias_values[biased, entry]
    if len(penalized := (rows.count_slots >= 0).nonzero()[:, 0]):
        adjusted[penalized] = _penalize(adjusted[penalized], rows, penalized)
    if len(masked := rows.has_mask.nonzero()[:, 0]):
        bits = torch.arange(MASK_BITS, dtype=torch.int32, device=logits.device)
        is_banned = (rows.masks[masked][:, :, None] >> bits) & 1 == 0
        is_banned = is_banned.flatten(1)[:, : logits.shape[1]]
        adjusted[masked] = adjusted[masked].masked_fill_(is_banned, float("-inf"))
    return adjusted


def filter_logits(logits: torch.Tensor, rows: SamplingRows, selected: torch.Tensor) -> torch.Tensor:
    """Logits over temperature, less the greatest, with -inf for what the filters exclude.

    Args:
        logits: [selected, vocab] float32, used up
        selected: [selected] which of `rows` they are; all with a temperature
    """
    vocab_size = logits.shape[1]
    # A temperature may be so small that logits would overflow; the maximum alone matters then.
    logits.sub_(logits.amax(dim=-1, keepdim=True)).div_(rows.temperatures[selected, None])
    min_p, top_k, top_p = (part[selected] for part in (rows.min_ps, rows.top_ks, rows.top_ps))
    filter_min_p_(logits, min_p)
    is_filtered = (top_k < vocab_size) | (top_p < 1)
    if is_filtered.any():
        filtered, top_k = logits[is_filtered], top_k[is_filtered].long()
        filter_top_k_top_p_(filtered, top_k, top_p[is_filtered], int(top_k.max()))
        logits[is_filtered] = filtered
    return logits


def _penalize(logits: torch.Tensor, rows: SamplingRows, penalized: torch.Tensor) -> torch.Tensor:
    counts = rows.token_counts[rows.count_slots[penalized].long()]
    repetition = rows.repetition_penalties[penalized, None]
    repeated = torch.where(logits > 0, logits / repetition, logits * repetition)
    logits = torch.where(counts != 0, repeated, logits)
    in_output = output_counts(counts)
    presence = rows.presence_penalties[penalized, None]
    frequency = rows.frequency_penalties[penalized, None]
    return torch.where(in_output > 0, logits - (presence + frequency * in_output), logits)


def filter_min_p_(logits: torch.Tensor, min_p: torch.Tensor) -> None:
    """Drops tokens less likely than `min_p` [rows] times the likeliest, in place."""
    threshold = logits.amax(dim=-1) + min_p.log()
    logits.masked_fill_(logits < threshold[:, None], float("-inf"))


def filter_top_k_top_p_(
    logits: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor, max_top_k: int
) -> None:
    """Keeps the `top_k` likeliest tokens, and of these the fewest that reach `top_p`, in place.

    Args:
        logits: [rows, vocab]
        top_k: [rows] int64 in 1..vocab; vocab keeps all
        top_p: [rows] share of the probability that is left after top-k; 1 keeps all
        max_top_k: the largest of `top_k`
    """
    ordered = logits.topk(max_top_k, dim=-1).values  # descending
    last = top_k[:, None] - 1
    weights = (ordered - ordered[:, :1]).exp_()
    # A running sum, unlike a total, does not depend on how many columns this batch sorts.
    sums = weights.cumsum(dim=-1)
    share = torch.where(top_p < 1, top_p, float("inf"))[:, None]
    is_dropped = sums - weights >= share * sums.gather(1, last)
    is_dropped |= torch.arange(max_top_k, device=logits.device) > last
    num_kept = (max_top_k - is_dropped.sum(dim=-1, keepdim=True)).clamp_(min=1)
    logits.masked_fill_(logits < ordered.gather(1, num_kept - 1), float("-inf"))


def draw(logits: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """One token for each row with probability softmax(logits), [rows].

    Args:
        logits, noise: [rows, vocab]; noise is exponential (`legato.kernels.random`): the race of
            exponential clocks that run at the tokens' probabilities is won in their proportion
    """
    return (logits - noise.log()).argmax(dim=-1)
