"""Masks, step by step; letters are tokens here."""

import numpy as np
import pytest

from legato.engine.grammar_compiler import GrammarCompiler
from legato.engine.grammar_state import GrammarState, MaskWriter
from legato.engine.structured_output import StructuredOutput, StructuredOutputKind
from legato.tests.engine.fake_runner import EOS, VOCAB_SIZE
from legato.tests.engine.letters import letters_compiler, text_of, token_ids

NUM_WORDS = -(-VOCAB_SIZE // 32)


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    return letters_compiler()


def start(compiler: GrammarCompiler, regex: str, output: str = "") -> GrammarState:
    structured = StructuredOutput(StructuredOutputKind.REGEX, regex)
    return compiler.start(structured, token_ids(output))


def allowed(*states: GrammarState, banned: str = "", with_eos: bool = False) -> list[str]:
    """What each state allows, as letters; $ is the end."""
    bans = [*token_ids(banned), *([EOS] if with_eos else [])]
    masks = np.full((len(states), NUM_WORDS), 7, np.int32)
    MaskWriter(num_threads=2).write(masks, states, [bans] * len(states))
    bits = np.unpackbits(masks.view(np.uint8), axis=1, count=VOCAB_SIZE, bitorder="little")
    return [text_of([int(token_id) for token_id in np.flatnonzero(row)]) for row in bits]


def test_a_mask_follows_the_output(compiler: GrammarCompiler) -> None:
    state = start(compiler, "a[bc]*d?")
    masks = []
    for letter in "abcd":
        masks += allowed(state)
        state.accept(*token_ids(letter))
    assert masks == ["a", "$bcd", "$bcd", "$bcd"]
    assert state.is_over
    assert allowed(state) == ["$"]
    assert not state.has_failed


def test_an_end_token_ends_the_answer(compiler: GrammarCompiler) -> None:
    state = start(compiler, "a+", "aa")
    assert not state.is_over
    state.accept(EOS)
    assert state.is_over
    assert not state.has_failed


def test_a_state_follows_from_the_output_alone(compiler: GrammarCompiler) -> None:
    followed = start(compiler, "(ab|ac|bd)*")
    for token_id in token_ids("abac"):
        followed.accept(token_id)
    rebuilt = start(compiler, "(ab|ac|bd)*", "abac")
    assert allowed(followed, rebuilt) == ["$ab", "$ab"]


def test_sequences_of_one_grammar_do_not_disturb_each_other(compiler: GrammarCompiler) -> None:
    states = [start(compiler, "abc", output) for output in ("", "a", "ab", "abc")]
    assert allowed(*states) == ["a", "b", "c", "$"]
    states[0].accept(*token_ids("a"))
    assert allowed(*states) == ["b", "b", "c", "$"]


def test_bans_hold_while_anything_else_is_left(compiler: GrammarCompiler) -> None:
    states = [start(compiler, "a[bc]*", "a"), start(compiler, "a", "a"), start(compiler, "b")]
    assert allowed(*states, with_eos=True) == ["bc", "$", "b"]
    assert allowed(*states, banned="bz", with_eos=True) == ["c", "$", "b"]


def test_tokens_that_only_the_tokenizer_knows_are_left_out(compiler: GrammarCompiler) -> None:
    masks = np.zeros((2, 1), np.int32)
    states = [start(compiler, "[yz0-9]"), start(compiler, "[5-9]")]
    MaskWriter(num_threads=1).write(masks, states, [token_ids("yz9"), ()])
    bits = np.unpackbits(masks.view(np.uint8), axis=1, bitorder="little")
    assert text_of([int(token_id) for token_id in np.flatnonzero(bits[0])]) == "01234"
    assert bits[1].all()


def test_where_no_token_fits_the_end_is_all_that_is_allowed(compiler: GrammarCompiler) -> None:
    state = start(compiler, "ab(%|&)c", "ab")
    assert allowed(state) == ["$"]
    assert state.has_failed
    assert state.is_over


def test_output_that_the_grammar_does_not_allow_is_a_failure(compiler: GrammarCompiler) -> None:
    foreign, good = start(compiler, "abc", "zz"), start(compiler, "abc", "a")
    assert foreign.has_failed
    assert foreign.is_over
    assert allowed(foreign, good) == ["$", "b"]
