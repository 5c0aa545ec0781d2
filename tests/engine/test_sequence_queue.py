from hypothesis import given
from hypothesis import strategies as st

from legato.engine.batch import SequenceRequest
from legato.engine.limits import EngineLimits
from legato.engine.sampling_params import SamplingParams
from legato.engine.sequence import Sequence
from legato.engine.sequence_queue import SequenceQueue

LIMITS = EngineLimits(num_blocks=8, block_size=4, vocab_size=100, max_model_len=20)


def sequence(seq_id: int, priority: int) -> Sequence:
    request = SequenceRequest((1,), SamplingParams(), 0, priority=priority)
    return Sequence.of(seq_id, request, LIMITS, now_s=0.0)


@given(st.lists(st.integers(-3, 3), min_size=1), st.data())
def test_the_order_is_priority_then_arrival_whatever_comes_and_goes(
    priorities: list[int], data: st.DataObject
) -> None:
    sequences = [sequence(seq_id, priority) for seq_id, priority in enumerate(priorities)]
    queue = SequenceQueue()
    for seq in data.draw(st.permutations(sequences)):
        queue.add(seq)
    gone = data.draw(st.sampled_from(sequences))
    queue.remove(gone)
    left = sorted((seq for seq in sequences if seq is not gone), key=lambda seq: seq.rank)
    assert list(queue) == left
    assert len(queue) == len(left)
    if left:
        assert (queue.first, queue.last) == (left[0], left[-1])
