"""Changes to logits that depend on a sequence's own tokens: bias, penalties, bans.

Work is in proportion to the tokens named, not to the vocabulary: every change is a list of
(row, token, value) entries, gathered on the host for all rows and applied at once.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import torch

from legato.engine.batch import SamplingInput
from legato.kernels.sampling import add_to_tokens_, apply_repetition_penalty_

Entry = tuple[int, int, float]  # row, token id, value; each (row, token id) once


def adjust_logits(logits: torch.Tensor, inputs: Sequence[SamplingInput]) -> torch.Tensor:
    """Logits with every row's bias, penalties and bans applied; the same tensor if there are none.

    Repetition counts prompt and output; presence and frequency count the output alone.
    """
    biases = [
        (row, token_id, bias)
        for row, given in enumerate(inputs)
        for token_id, bias in given.params.logit_bias.items()
    ]
    penalized = [(row, given) for row, given in enumerate(inputs) if given.params.has_penalties]
    bans = [
        (row, token_id, float("-inf"))
        for row, given in enumerate(inputs)
        for token_id in set(given.banned_token_ids)
    ]
    if not (biases or penalized or bans):
        return logits
    adjusted = logits.clone()
    if biases:
        add_to_tokens_(adjusted, *_columns(biases, logits.device))
    if repetitions := list(_repetitions(penalized)):
        apply_repetition_penalty_(adjusted, *_columns(repetitions, logits.device))
    if counts := list(_output_penalties(penalized)):
        add_to_tokens_(adjusted, *_columns(counts, logits.device))
    if bans:
        add_to_tokens_(adjusted, *_columns(bans, logits.device))
    return adjusted


def _repetitions(penalized: Iterable[tuple[int, SamplingInput]]) -> Iterable[Entry]:
    for row, given in penalized:
        if (penalty := given.params.repetition_penalty) != 1:
            for token_id in {*given.prompt_token_ids, *given.output_token_ids}:
                yield row, token_id, penalty


def _output_penalties(penalized: Iterable[tuple[int, SamplingInput]]) -> Iterable[Entry]:
    for row, given in penalized:
        presence, frequency = given.params.presence_penalty, given.params.frequency_penalty
        if presence or frequency:
            for token_id, count in Counter(given.output_token_ids).items():
                yield row, token_id, -(presence + frequency * count)


def _columns(
    entries: Sequence[Entry], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rows, token_ids, values = zip(*entries, strict=True)
    return (
        torch.tensor(rows, device=device),
        torch.tensor(token_ids, device=device),
        torch.tensor(values, dtype=torch.float32, device=device),
    )
