"""How a step's inputs follow from the step before, without the host."""

import torch


def take_sampled_(token_ids: torch.Tensor, sources: torch.Tensor, sampled: torch.Tensor) -> None:
    """Fills in tokens that were sampled in the step before.

    Args:
        token_ids: [tokens] int32, changed in place where a source is given
        sources: [tokens] int32 index into `sampled`; negative: the token id stands
        sampled: [samples] int64
    """
    taken = sampled[sources.clamp(min=0)].to(token_ids.dtype)
    token_ids.copy_(torch.where(sources >= 0, taken, token_ids))


def advance_(context_lens: torch.Tensor, positions: torch.Tensor, sources: torch.Tensor) -> None:
    """Makes a decode step's inputs those of the next one, if the batch goes on as it is.

    Args:
        context_lens: [rows] int32; rows in use (not 0) get one token more
        positions: [rows] int64 index of the output token to be drawn; one more
        sources: [rows] int32; each row's next token is what it has just sampled
    """
    context_lens.add_((context_lens > 0).to(context_lens.dtype))
    positions.add_(1)
    torch.arange(sources.shape[0], dtype=sources.dtype, device=sources.device, out=sources)
