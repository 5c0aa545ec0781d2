"""What an engine has done leaves nothing behind, beyond what its pool and its caches have room for.

Objects are counted, not bytes: allocators and libraries keep memory that nobody uses.
"""

import gc
from collections.abc import Callable
from random import Random

import pytest

from legato.engine.batch import SequenceRequest
from legato.engine.core import EngineCore
from legato.engine.errors import ContextLengthError
from legato.engine.sampling_params import SamplingParams
from legato.engine.structured_output import StructuredOutput, StructuredOutputKind
from legato.tests.engine.fake_runner import VOCAB_SIZE, fake_engine
from legato.tests.engine.letters import letters_compiler

# Several times what the pool can remember of prompts, and what is kept of grammars.
NUM_REQUESTS = 150
MAX_NEW_OBJECTS = 40

Make = Callable[[Random], SamplingParams]


def _plain(random: Random) -> SamplingParams:
    return SamplingParams(max_tokens=random.randint(1, 6), temperature=0)


def _biased(random: Random) -> SamplingParams:
    bias = {random.randrange(VOCAB_SIZE): 1.0 for _ in range(5)}
    return SamplingParams(max_tokens=3, logit_bias=bias, logprobs=2, presence_penalty=0.5)


def _formed(random: Random) -> SamplingParams:
    form = StructuredOutput(StructuredOutputKind.REGEX, f"[a-z]{{2}}{random.randrange(10**9)}")
    return SamplingParams(max_tokens=5, temperature=0, structured_output=form)


def _serve(core: EngineCore, random: Random, make: Make) -> None:
    """New prompts all the time; some are given up, some can never be served."""
    for number in range(NUM_REQUESTS):
        prompt = tuple(random.choices(range(1, VOCAB_SIZE), k=random.randint(1, 20)))
        salt = random.randbytes(4)
        seq_id = core.add(SequenceRequest(prompt, make(random), number, salt=salt))
        if number % 5 == 0:
            core.step()
            core.abort(seq_id)
        if number % 3 == 0:
            with pytest.raises(ContextLengthError):
                core.add(SequenceRequest(prompt * 64, make(random), number))
        while core.has_work() and number % 4 == 0:
            core.step()
    while core.has_work():
        core.step()


def _num_objects() -> int:
    gc.collect()
    return len(gc.get_objects())


@pytest.mark.parametrize("make", [_plain, _biased, _formed])
def test_new_requests_leave_no_objects_behind(make: Make) -> None:
    core, runner = fake_engine(num_blocks=32, pipeline_depth=2, grammars=letters_compiler())
    random = Random(1)
    _serve(core, random, make)  # pool and caches are full now
    runner.batches.clear()  # its own record, for other tests
    before = _num_objects()
    _serve(core, random, make)
    runner.batches.clear()
    assert _num_objects() - before < MAX_NEW_OBJECTS
