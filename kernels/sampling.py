"""The parts of sampling as functions of whole rows of logits; rows never influence each other.

Ties count as one: a filter that keeps a value keeps all tokens of exactly this value, so the
outcome does not depend on how a sort orders equal values.
"""

import torch


def apply_repetition_penalty_(
    logits: torch.Tensor, rows: torch.Tensor, token_ids: torch.Tensor, penalties: torch.Tensor
) -> None:
    """Divides positive and multiplies negative logits of seen tokens.

    Args:
        logits: [rows, vocab], changed in place
        rows, token_ids, penalties: [entries]; each pair (row, token) at most once
    """
    seen = logits[rows, token_ids]
    logits[rows, token_ids] = torch.where(seen > 0, seen / penalties, seen * penalties)


def add_to_tokens_(
    logits: torch.Tensor, rows: torch.Tensor, token_ids: torch.Tensor, values: torch.Tensor
) -> None:
    """Adds `values` [entries] at (row, token); each pair at most once. Changes `logits`."""
    logits[rows, token_ids] += values


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


def token_ranks(logits: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
    """Rank of one token in each row, [rows]; 1 is the likeliest."""
    return (logits > logits.gather(1, token_ids[:, None])).sum(dim=-1) + 1
