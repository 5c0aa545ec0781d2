import numpy as np
import torch

from legato.engine.batch import SampledToken, TokenLogprobs
from legato.engine.pending_step import PendingLogprobs, PendingStep, SampleCopies
from legato.tests.kernels.gpu.device import DEVICE


def test_samples_come_in_the_batchs_order() -> None:
    step = PendingStep(torch.tensor([7, 8, 9, 0]), np.array([2, 0, 1]), None, None)
    assert step.wait().sampled == (
        SampledToken(9, None),
        SampledToken(7, None),
        SampledToken(8, None),
    )


def test_each_sequence_gets_the_log_probabilities_that_it_asked_for() -> None:
    tensors = (
        torch.tensor([-0.5, -1.0]),
        torch.tensor([1, 3]),
        torch.tensor([[4, 5], [6, 7]]),
        torch.tensor([[-0.5, -2.0], [-0.25, -0.75]]),
    )
    pending = PendingLogprobs(tensors, (1, None))
    step = PendingStep(torch.tensor([4, 9]), np.array([1, 0]), pending, None)
    first, second = step.wait().sampled
    assert first == SampledToken(9, TokenLogprobs(9, -1.0, 3, ((6, -0.25),)))
    assert second == SampledToken(4, None)


def test_a_step_without_samples_has_none() -> None:
    empty = torch.empty(0, dtype=torch.int64)
    assert PendingStep(empty, np.empty(0, np.int64), None, None).wait().sampled == ()


def test_samples_are_copied_before_the_next_step_writes_its_own() -> None:
    copies = SampleCopies(4, num_places=3, device=DEVICE)
    sampled = torch.tensor([5, 6, 7, 8], device=DEVICE)
    taken = []
    for _ in range(2):
        copy, is_done = copies.start(sampled[:3])
        taken.append(PendingStep(copy, np.array([2, 0, 1]), None, is_done))
        sampled += 1
    results = [[token.token_id for token in step.wait().sampled] for step in taken]
    assert results == [[7, 5, 6], [8, 6, 7]]
