"""From logits to tokens, for the sequences of one step that sample. Stateless.

    raw logits -> + bias -> penalties -> ban -> / temperature -> min-p -> top-k -> top-p -> draw
        `-> log probabilities (of the raw logits)

Each stage touches only the rows that ask for it and is skipped when none does. A draw is a function
of (seed, output position, token), see `legato.kernels.random`, so a sequence samples the same
text in any batch, in any row, on any worker.
"""

from collections.abc import Sequence

import torch

from legato.engine.batch import SampledToken, SamplingInput
from legato.engine.logprobs import token_logprobs
from legato.engine.penalties import adjust_logits
from legato.kernels.random import exponential_noise
from legato.kernels.sampling import draw, filter_min_p_, filter_top_k_top_p_


def sample(logits: torch.Tensor, inputs: Sequence[SamplingInput]) -> tuple[SampledToken, ...]:
    """Samples one token for each row.

    Args:
        logits: [rows, vocab] float32; left as they are
        inputs: one for each row
    """
    token_ids = _choose(adjust_logits(logits, inputs), inputs)
    logprobs = token_logprobs(logits, token_ids, inputs)
    return tuple(map(SampledToken, token_ids.tolist(), logprobs))


def _choose(logits: torch.Tensor, inputs: Sequence[SamplingInput]) -> torch.Tensor:
    """The chosen token of each row, [rows]: the likeliest, or a draw where one is asked for."""
    random = [row for row, given in enumerate(inputs) if not given.params.is_greedy]
    if not random:
        return logits.argmax(dim=-1)
    drawn = _draw(logits[random], [inputs[row] for row in random])
    if len(random) == len(inputs):
        return drawn
    chosen = logits.argmax(dim=-1)
    chosen[random] = drawn
    return chosen


def _draw(logits: torch.Tensor, inputs: Sequence[SamplingInput]) -> torch.Tensor:
    """Draws a token for each row; `logits` [rows, vocab] are used up."""
    device = logits.device
    temperatures = torch.tensor([given.params.temperature for given in inputs], device=device)
    # A temperature may be so small that logits would overflow; the maximum alone matters then.
    logits.sub_(logits.amax(dim=-1, keepdim=True)).div_(temperatures[:, None])
    _filter(logits, inputs)
    seeds = torch.tensor([_as_int64(given.seed) for given in inputs], device=device)
    positions = torch.tensor([given.position for given in inputs], device=device)
    return draw(logits, exponential_noise(seeds, positions, logits.shape[-1]))


def _filter(logits: torch.Tensor, inputs: Sequence[SamplingInput]) -> None:
    """Drops what min-p, top-k and top-p exclude, in place."""
    vocab_size, device = logits.shape[-1], logits.device
    rows = [row for row, given in enumerate(inputs) if given.params.min_p > 0]
    if rows:
        selected = logits[rows]
        filter_min_p_(selected, torch.tensor([inputs[r].params.min_p for r in rows], device=device))
        logits[rows] = selected

    top_ks = [_top_k(given, vocab_size) for given in inputs]
    rows = [
        row
        for row, given in enumerate(inputs)
        if top_ks[row] < vocab_size or given.params.top_p < 1
    ]
    if rows:
        selected = logits[rows]
        top_k = torch.tensor([top_ks[row] for row in rows], device=device)
        top_p = torch.tensor([inputs[row].params.top_p for row in rows], device=device)
        filter_top_k_top_p_(selected, top_k, top_p, max(top_ks[row] for row in rows))
        logits[rows] = selected


def _as_int64(seed: int) -> int:
    """The same 64 bits as a signed number."""
    return (seed + (1 << 63)) % (1 << 64) - (1 << 63)


def _top_k(given: SamplingInput, vocab_size: int) -> int:
    top_k = given.params.top_k
    return min(top_k, vocab_size) if top_k > 0 else vocab_size
