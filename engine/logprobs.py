"""Log probabilities of chosen tokens and of the likeliest ones, of the unmodified distribution."""

from collections.abc import Sequence

import torch

from legato.engine.batch import SamplingInput, TokenLogprobs
from legato.kernels.sampling import token_ranks


def token_logprobs(
    logits: torch.Tensor, token_ids: torch.Tensor, inputs: Sequence[SamplingInput]
) -> list[TokenLogprobs | None]:
    """One entry for each row; None where the sequence asks for none.

    Args:
        logits: [rows, vocab] float32, as the model gave them
        token_ids: [rows] the chosen tokens
    """
    results: list[TokenLogprobs | None] = [None] * len(inputs)
    wanted = {
        row: num_top
        for row, given in enumerate(inputs)
        if (num_top := given.params.logprobs) is not None
    }
    if not wanted:
        return results
    rows = list(wanted)
    selected, chosen = logits[rows], token_ids[rows]
    distribution = selected.log_softmax(dim=-1)
    top = distribution.topk(min(max(wanted.values()), logits.shape[-1]), dim=-1)
    columns = zip(
        wanted.items(),
        chosen.tolist(),
        distribution.gather(1, chosen[:, None])[:, 0].tolist(),
        token_ranks(selected, chosen).tolist(),
        zip(top.indices.tolist(), top.values.tolist(), strict=True),
        strict=True,
    )
    for (row, num_top), token_id, logprob, rank, (top_ids, top_values) in columns:
        likeliest = tuple(zip(top_ids[:num_top], top_values[:num_top], strict=True))
        results[row] = TokenLogprobs(token_id, logprob, rank, likeliest)
    return results
