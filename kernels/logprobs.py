"""Log probabilities of chosen tokens and of the likeliest ones, as the model gave them.

Neither temperature nor anything else that changes a choice is known here.
"""

import torch

TokenLogprobs = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def token_logprobs(logits: torch.Tensor, token_ids: torch.Tensor, num_top: int) -> TokenLogprobs:
    """What the distribution softmax(logits) says of tokens.

    Args:
        logits: [rows, vocab] float32, bfloat16 or float16
        token_ids: [rows] int64, the chosen tokens
        num_top: how many of the likeliest tokens to name, 0..20, vocab at most

    Returns:
        the chosen tokens' log probabilities, [rows] float32
        their ranks, [rows] int64: 1 + the number of likelier tokens
        the likeliest tokens, likeliest first, equal ones in any order, [rows, num_top] int64
        their log probabilities, [rows, num_top] float32
    """
    distribution = logits.log_softmax(dim=-1, dtype=torch.float32)
    top = distribution.topk(num_top, dim=-1)
    chosen = distribution.gather(1, token_ids[:, None])[:, 0]
    ranks = (logits > logits.gather(1, token_ids[:, None])).sum(dim=-1) + 1
    return chosen, ranks, top.indices, top.values
