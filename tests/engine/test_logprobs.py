import math

import torch

from legato.engine.logprobs import token_logprobs
from legato.engine.sampling_params import SamplingParams
from legato.tests.engine.batches import sampling_input

LOGITS = torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.6, 0.3], [0.25, 0.25, 0.5]]).log() - 3


def test_each_row_gets_as_many_as_it_asked_for() -> None:
    given = [sampling_input(SamplingParams(temperature=0, logprobs=n)) for n in (2, None, 0)]
    first, second, third = token_logprobs(LOGITS, torch.tensor([2, 1, 2]), given)
    assert first is not None
    assert third is not None
    assert second is None
    assert (first.token_id, first.rank) == (2, 2)
    assert math.isclose(first.logprob, math.log(0.3), rel_tol=1e-5)
    assert [token_id for token_id, _ in first.top] == [0, 2]
    assert (third.token_id, third.rank, third.top) == (2, 1, ())


def test_more_than_the_vocabulary_is_the_vocabulary() -> None:
    given = [sampling_input(SamplingParams(temperature=0, logprobs=20))]
    (entry,) = token_logprobs(LOGITS[:1], torch.tensor([0]), given)
    assert entry is not None
    assert len(entry.top) == 3
