import numpy as np
import pytest
import torch

from legato.engine.batch import SamplingInput
from legato.engine.grammar_compiler import GrammarCompiler
from legato.engine.packed_buffers import PackedBuffers
from legato.engine.sampling_params import SamplingParams
from legato.engine.sampling_state import SamplingState, sampling_fields
from legato.engine.structured_output import StructuredOutput, StructuredOutputKind
from legato.kernels.backend import kernels_for
from legato.tests.engine.fake_runner import EOS, VOCAB_SIZE
from legato.tests.engine.letters import letters_compiler, text_of

MAX_ROWS = 6
GREEDY = SamplingParams(temperature=0)


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    return letters_compiler()


@pytest.fixture
def buffers() -> PackedBuffers:
    return PackedBuffers(sampling_fields(MAX_ROWS), torch.device("cpu"))


@pytest.fixture
def state(buffers: PackedBuffers) -> SamplingState:
    return SamplingState(buffers, kernels_for(torch.device("cpu")), VOCAB_SIZE, num_eos_tokens=0)


def formed(
    compiler: GrammarCompiler, regex: str, banned: tuple[int, ...] = (), position: int = 0
) -> SamplingInput:
    grammar = compiler.start(StructuredOutput(StructuredOutputKind.REGEX, regex))
    return SamplingInput(GREEDY, 0, position, (5,), (), banned, grammar)


def free() -> SamplingInput:
    return SamplingInput(GREEDY, 0, 0, (5,), (), ())


def sample(state: SamplingState, buffers: PackedBuffers, num_rows: int) -> str:
    """What each row samples where the first allowed token is the likeliest."""
    buffers.upload()
    state.fill_masks()
    logits = -torch.arange(VOCAB_SIZE, dtype=torch.float32).expand(num_rows, -1)
    sampled = kernels_for(torch.device("cpu")).sample(logits, state.rows(num_rows))
    return text_of(sampled.tolist())


def test_rows_obey_their_own_grammar_and_the_others_none(
    compiler: GrammarCompiler, state: SamplingState, buffers: PackedBuffers
) -> None:
    inputs = [free(), formed(compiler, "b"), free(), formed(compiler, "[x-z]"), free()]
    state.fill(range(5), inputs)
    assert sample(state, buffers, 5) == "$b$x$"


def test_bans_are_part_of_the_mask(
    compiler: GrammarCompiler, state: SamplingState, buffers: PackedBuffers
) -> None:
    inputs = [formed(compiler, "a*", (EOS,)), formed(compiler, "", (EOS,)), free()]
    state.fill(range(3), inputs)
    assert sample(state, buffers, 3) == "a$$"
    assert not np.any(buffers.host["num_biases"])


def test_a_mask_is_gone_with_its_sequence(
    compiler: GrammarCompiler, state: SamplingState, buffers: PackedBuffers
) -> None:
    state.fill(range(2), [formed(compiler, "b"), formed(compiler, "c")])
    assert sample(state, buffers, 2) == "bc"
    state.fill((1,), [free()])
    assert sample(state, buffers, 1) == "$"
    assert not np.any(buffers.host["has_mask"])
