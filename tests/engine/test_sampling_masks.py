import pytest
import torch

from legato.engine.batch import SamplingInput
from legato.engine.grammar_compiler import GrammarCompiler
from legato.engine.sampling_masks import SamplingMasks
from legato.engine.sampling_params import SamplingParams
from legato.engine.structured_output import StructuredOutput, StructuredOutputKind
from legato.tests.engine.fake_runner import VOCAB_SIZE
from legato.tests.engine.letters import letters_compiler, text_of


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    return letters_compiler()


@pytest.fixture
def masks() -> SamplingMasks:
    return SamplingMasks(4, VOCAB_SIZE, torch.device("cpu"))


def allowing(*token_ids: int, banned: tuple[int, ...] = ()) -> SamplingInput:
    return SamplingInput(SamplingParams(allowed_token_ids=token_ids), 0, 0, (5,), (), banned)


def formed(compiler: GrammarCompiler, regex: str) -> SamplingInput:
    grammar = compiler.start(StructuredOutput(StructuredOutputKind.REGEX, regex))
    return SamplingInput(SamplingParams(), 0, 0, (5,), (), (), grammar)


def allowed(masks: SamplingMasks, row: int) -> list[int]:
    words = masks.tensor[row].tolist()
    return [token for token in range(VOCAB_SIZE) if words[token // 32] >> token % 32 & 1]


def test_a_row_allows_what_its_request_allows_less_its_bans(masks: SamplingMasks) -> None:
    free = SamplingInput(SamplingParams(), 0, 0, (5,), (), ())
    inputs = [allowing(0, 31, 32, 49), free, allowing(3, 4, banned=(4, 7))]
    assert masks.fill((10, 11, 12), inputs) == [0, 2]
    masks.write()
    assert allowed(masks, 0) == [0, 31, 32, 49]
    assert allowed(masks, 2) == [3]


def test_bans_give_way_where_nothing_else_is_allowed(masks: SamplingMasks) -> None:
    masks.fill((1,), [allowing(3, 4, banned=(3, 4))])
    masks.write()
    assert allowed(masks, 0) == [3, 4]


def test_rows_with_and_without_a_grammar_keep_apart(
    masks: SamplingMasks, compiler: GrammarCompiler
) -> None:
    masks.fill((1, 2, 3), [allowing(7), formed(compiler, "b"), allowing(9)])
    masks.write()
    assert (allowed(masks, 0), allowed(masks, 2)) == ([7], [9])
    assert text_of(allowed(masks, 1)) == "b"


def test_a_mask_follows_its_sequence_from_row_to_row(masks: SamplingMasks) -> None:
    masks.fill((1, 2), [allowing(7), allowing(8)])
    masks.write()
    masks.write()  # nothing more to write
    masks.fill((2,), [allowing(8)])
    masks.write()
    assert allowed(masks, 0) == [8]
