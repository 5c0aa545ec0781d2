"""Answers that have a form, from an engine with one or two steps under way."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from legato.engine.batch import FinishReason, ScheduledSequence, SequenceOutput, SequenceRequest
from legato.engine.config import EngineConfig
from legato.engine.core import EngineCore
from legato.engine.errors import InvalidRequestError
from legato.engine.grammar_compiler import GrammarCompiler
from legato.engine.sampling_params import SamplingParams
from legato.engine.structured_output import StructuredOutput, StructuredOutputKind
from legato.tests.engine.fake_runner import (
    EOS,
    FakeRunner,
    answer,
    fake_engine,
)
from legato.tests.engine.letters import formed_answer, letters_compiler, text_of, token_ids

PROMPT = tuple(range(1, 11))
LONG = r"[a-z]{3}(-[0-9]{2}){5}"  # 18 tokens


@pytest.fixture(scope="module")
def grammars() -> GrammarCompiler:
    return letters_compiler()


@pytest.fixture(params=[1, 2], ids=["depth1", "depth2"])
def depth(request: pytest.FixtureRequest) -> int:
    depth: int = request.param
    return depth


@pytest.mark.parametrize("expects_forms", [True, False])
def test_the_vocabulary_is_loaded_on_the_side_where_forms_are_expected(
    model_directory: Path, expects_forms: bool
) -> None:
    options = {"model": str(model_directory), "max_model_len": 128, "num_gpu_blocks_override": 24}
    core = EngineCore.build(EngineConfig.from_options(options), expects_forms=expects_forms)
    loading = [thread for thread in threading.enumerate() if thread.name == "vocabulary"]
    for thread in loading:
        thread.join(60)
    assert core.grammars is not None and core.grammars.is_loaded == expects_forms


def request(regex: str, prompt: tuple[int, ...] = PROMPT, **params: Any) -> SequenceRequest:
    structured = StructuredOutput(StructuredOutputKind.REGEX, regex)
    given = {"temperature": 0, "max_tokens": 30, **params}
    return SequenceRequest(prompt, SamplingParams(structured_output=structured, **given), 0)


def plain_request(prompt: tuple[int, ...], max_tokens: int = 12) -> SequenceRequest:
    params = SamplingParams(temperature=0, max_tokens=max_tokens, ignore_eos=True)
    return SequenceRequest(prompt, params, 0)


def run(core: EngineCore) -> dict[int, list[SequenceOutput]]:
    outputs: dict[int, list[SequenceOutput]] = {}
    while core.has_work():
        for output in core.step().outputs:
            outputs.setdefault(output.seq_id, []).append(output)
        core.check_integrity()
    return outputs


def tokens(outputs: list[SequenceOutput]) -> list[int]:
    return [token_id for output in outputs for token_id in output.token_ids]


def parts(runner: FakeRunner, seq_id: int) -> list[ScheduledSequence]:
    sequences = [part for batch in runner.batches for part in batch.sequences]
    return [part for part in sequences if part.seq_id == seq_id]


# ---------------------------------------------------------------- the form


@pytest.mark.parametrize("budget", [3, 16], ids=["chunked", "whole"])
def test_answers_keep_their_form_and_neighbours_their_tokens(
    grammars: GrammarCompiler, depth: int, budget: int
) -> None:
    core, _ = fake_engine(32, depth, grammars, max_num_batched_tokens=budget)
    given = [request(LONG, (n, 2, 3)) for n in range(1, 4)]
    formed = [core.add(one) for one in given]
    plain = [core.add(plain_request((n, 7))) for n in range(1, 4)]
    outputs = run(core)
    assert [tokens(outputs[seq_id]) for seq_id in formed] == [
        formed_answer(grammars, r) for r in given
    ]
    assert [tokens(outputs[seq_id]) for seq_id in plain] == [
        answer((n, 7), 12, ignore_eos=True) for n in range(1, 4)
    ]


def test_a_token_is_known_before_the_next_one_is_planned(
    grammars: GrammarCompiler, depth: int
) -> None:
    core, runner = fake_engine(16, depth, grammars)
    seq_id, neighbour = core.add(request(LONG)), core.add(plain_request((5, 6), max_tokens=30))
    run(core)
    assert not any(part.takes_sampled for part in parts(runner, seq_id))
    with_neighbour = [neighbour in {p.seq_id for p in b.sequences} for b in runner.batches]
    assert with_neighbour.count(True) == 30
    assert all(with_neighbour[:30])


def test_an_answer_ends_with_its_last_token_where_nothing_can_follow(
    grammars: GrammarCompiler, depth: int
) -> None:
    core, _ = fake_engine(16, depth, grammars)
    seq_id = core.add(request("abc"))
    outputs = run(core)[seq_id]
    assert text_of(tokens(outputs)) == "abc"
    assert (outputs[-1].finish_reason, outputs[-1].stop_token_id) == (FinishReason.STOP, None)


def test_eos_comes_where_the_grammar_may_end_and_nowhere_else(
    grammars: GrammarCompiler, depth: int
) -> None:
    core, _ = fake_engine(64, depth, grammars)
    given = [request("aa[b-d]*", (n,)) for n in range(1, 20)]
    for one in given:
        core.add(one)
    lasts = []
    for outputs in run(core).values():
        text = text_of(tokens(outputs))
        assert text.startswith("aa")
        assert "$" not in text[:-1]
        lasts.append((text[-1] == "$", outputs[-1].finish_reason, outputs[-1].stop_token_id))
    assert set(lasts) <= {(True, FinishReason.STOP, EOS), (False, FinishReason.LENGTH, None)}
    assert (True, FinishReason.STOP, EOS) in lasts


@pytest.mark.parametrize("params", [{"ignore_eos": True}, {"min_tokens": 20}])
def test_no_answer_ends_too_early_unless_nothing_else_is_left(
    grammars: GrammarCompiler, depth: int, params: dict[str, Any]
) -> None:
    core, _ = fake_engine(64, depth, grammars)
    endless = [core.add(request("aa[b-d]*", (n,), **params)) for n in range(1, 20)]
    short = core.add(request("a|ab", (3,), **params))
    outputs = run(core)
    assert min(len(tokens(outputs[seq_id])) for seq_id in endless) >= 20
    assert text_of(tokens(outputs[short])) == "ab"
    assert outputs[short][-1].finish_reason is FinishReason.STOP


def test_a_stop_token_ends_an_answer_within_its_grammar(
    grammars: GrammarCompiler, depth: int
) -> None:
    core, _ = fake_engine(16, depth, grammars)
    (dash,) = token_ids("-")
    seq_id = core.add(request(LONG, stop_token_ids=(dash,)))
    outputs = run(core)[seq_id]
    assert (len(tokens(outputs)), outputs[-1].stop_token_id) == (4, dash)


def test_an_answer_that_cannot_go_on_is_cut(grammars: GrammarCompiler, depth: int) -> None:
    core, _ = fake_engine(16, depth, grammars)
    seq_id = core.add(request("ab(%|&)c"))  # neither is in the vocabulary
    outputs = run(core)[seq_id]
    assert text_of(tokens(outputs)) == "ab$"
    assert (outputs[-1].finish_reason, outputs[-1].stop_token_id) == (FinishReason.LENGTH, EOS)
    assert core.failure is None


# ---------------------------------------------------------------- plans that change


def test_preempted_answers_go_on_where_they_were(grammars: GrammarCompiler, depth: int) -> None:
    core, _ = fake_engine(8, depth, grammars)
    given = [request(LONG, (n, 2, 3)) for n in range(1, 4)]
    seq_ids = [core.add(one) for one in given]
    outputs = run(core)
    assert core.stats().totals.preemptions > 0
    assert [tokens(outputs[seq_id]) for seq_id in seq_ids] == [
        formed_answer(grammars, r) for r in given
    ]


def test_a_paused_answer_loses_the_token_under_way_and_samples_it_again(
    grammars: GrammarCompiler,
) -> None:
    core, _ = fake_engine(16, 2, grammars)
    seq_id = core.add(request(LONG))
    core.add(plain_request((5, 6), max_tokens=40))
    steps = [core.step().outputs for _ in range(6)]
    before = tokens([output for outputs in steps for output in outputs if output.seq_id == seq_id])
    paused = core.pause(seq_id)
    assert paused is not None
    assert paused.output_token_ids == tuple(before)
    core.resume(seq_id)
    core.unpin(paused.block_ids)
    assert before + tokens(run(core)[seq_id]) == formed_answer(grammars, request(LONG))


@pytest.mark.parametrize("num_before", [1, 7])
def test_an_answer_goes_on_elsewhere_from_its_tokens_alone(
    grammars: GrammarCompiler, depth: int, num_before: int
) -> None:
    whole = formed_answer(grammars, request(LONG))
    core, _ = fake_engine(16, depth, grammars)
    rest = replace(request(LONG), output_token_ids=tuple(whole[:num_before]))
    reservation = core.reserve(rest, 4)
    assert reservation is not None
    seq_id = core.adopt(rest, reservation, 0)
    assert tokens(run(core)[seq_id]) == whole[num_before:]


# ---------------------------------------------------------------- refusals


def test_a_bad_spec_is_refused_and_nothing_is_queued(grammars: GrammarCompiler) -> None:
    core, _ = fake_engine(16, 1, grammars)
    for refuse in (core.check, core.add, lambda given: core.reserve(given, 4)):
        with pytest.raises(InvalidRequestError, match="unclosed group") as caught:
            refuse(request("("))
        assert caught.value.param == "structured_output"
    assert not core.has_work()


def test_an_engine_without_a_tokenizer_refuses_structured_output() -> None:
    core, _ = fake_engine()
    with pytest.raises(InvalidRequestError, match="tokenizer"):
        core.check(request("a"))
