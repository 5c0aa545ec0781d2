"""Answers that have a form, from a real model: valid, whatever else is asked for."""

import json
import re
from typing import Any

import pytest

from legato.engine.builtin_model import builtin_model_directory
from legato.engine.errors import InvalidRequestError
from legato.engine.llm import LLM
from legato.engine.request_output import CompletionOutput
from legato.engine.sampling_params import SamplingParams
from legato.engine.structured_output import StructuredOutput, StructuredOutputKind

EOS = 2
MODEL = str(builtin_model_directory())
PROMPT = "Tell me about the old man, his dog and the little house where they live."
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["kind", "old"]}, "maxItems": 2},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
FORMS = {
    "json_schema": StructuredOutput(StructuredOutputKind.JSON_SCHEMA, json.dumps(PERSON)),
    "json_object": StructuredOutput(StructuredOutputKind.JSON_OBJECT),
    "regex": StructuredOutput(StructuredOutputKind.REGEX, r"[A-Z][a-z]{2,9} \(\d{1,3}\)"),
    "choice": StructuredOutput(StructuredOutputKind.CHOICE, '["a house", "a dog", "an old man"]'),
    "grammar": StructuredOutput(
        StructuredOutputKind.GRAMMAR, 'start: "<" WORD ("," WORD){2,4} ">"\nWORD: /[a-z]{1,8}/'
    ),
}
SAMPLED = [
    {"temperature": 0},
    {"temperature": 1.0, "seed": 3},
    {"temperature": 1.5, "seed": 4, "top_p": 0.95, "top_k": 100, "min_p": 0.001},
]


@pytest.fixture(scope="module")
def llm() -> LLM:
    return LLM(MODEL, device="cpu", num_gpu_blocks_override=128, max_num_seqs=16)


def params(form: str | None, **given: Any) -> SamplingParams:
    structured = None if form is None else FORMS[form]
    values = {"max_tokens": 90, "temperature": 0, **given}
    return SamplingParams(structured_output=structured, **values)


def answer(llm: LLM, given: SamplingParams, prompt: str = PROMPT) -> CompletionOutput:
    return llm.generate(prompt, given, use_tqdm=False)[0].outputs[0]


def is_valid(form: str, text: str) -> bool:
    match form:
        case "json_schema":
            person = json.loads(text)
            tags = {*person["tags"]} <= {"kind", "old"} and len(person["tags"]) <= 2
            known = list(person) == ["name", "age", "tags"]
            return known and tags and len(person["name"]) <= 12 and 0 <= person["age"] <= 120
        case "json_object":
            return isinstance(json.loads(text), dict)
        case "choice":
            return text in ("a house", "a dog", "an old man")
        case "regex":
            return re.fullmatch(FORMS["regex"].spec, text) is not None
        case _:
            return re.fullmatch(r"<[a-z]{1,8}(,[a-z]{1,8}){2,4}>", text) is not None


@pytest.mark.parametrize("sampled", SAMPLED, ids=["greedy", "drawn", "filtered"])
@pytest.mark.parametrize("form", FORMS)
def test_an_answer_that_ends_has_its_form(llm: LLM, form: str, sampled: dict[str, Any]) -> None:
    given = answer(llm, params(form, **sampled, logit_bias={EOS: 5}))
    if form == "json_object" and given.finish_reason == "length":
        assert given.text.startswith("{")
        return
    assert given.finish_reason == "stop"
    assert is_valid(form, given.text), given.text
    assert EOS not in given.token_ids[:-1]


def test_neighbours_answer_as_if_they_were_alone(llm: LLM) -> None:
    forms = [None, "regex", None, "json_schema", "choice", None]
    given = [params(form, seed=n, temperature=n % 2, max_tokens=40) for n, form in enumerate(forms)]
    together = llm.generate([PROMPT] * len(given), given, use_tqdm=False)
    assert [output.outputs[0].token_ids for output in together] == [
        answer(llm, one).token_ids for one in given
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"max_num_batched_tokens": 5},
        {"max_num_seqs": 2},
        {"block_size": 4, "num_gpu_blocks_override": 32, "max_model_len": 128},
    ],
    ids=["chunked", "queued", "preempted"],
)
def test_the_same_answers_come_however_they_are_scheduled(
    llm: LLM, options: dict[str, Any]
) -> None:
    given = [params(form, seed=5, temperature=1) for form in ("json_schema", "regex", "grammar")]
    given += [params(None, max_tokens=50, seed=6, temperature=1)]
    expected = [answer(llm, one).token_ids for one in given]
    other = LLM(MODEL, device="cpu", **{"num_gpu_blocks_override": 128, **options})
    outputs = other.generate([PROMPT] * len(given), given, use_tqdm=False)
    assert [output.outputs[0].token_ids for output in outputs] == expected
    assert (other.core.stats().totals.preemptions > 0) == ("block_size" in options)


def test_two_steps_under_way_change_no_token(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    forms = (None, "json_schema", "grammar", None, "choice")
    given = [params(form, seed=7, temperature=1, max_tokens=50) for form in forms]
    expected = llm.generate([PROMPT] * len(given), given, use_tqdm=False)
    monkeypatch.setattr(llm.core._pipeline._runner, "pipeline_depth", 2)
    outputs = llm.generate([PROMPT] * len(given), given, use_tqdm=False)
    assert [one.outputs for one in outputs] == [one.outputs for one in expected]


def test_n_answers_have_the_form_each_on_its_own(llm: LLM) -> None:
    given = params("regex", n=4, seed=1, temperature=1)
    (output,) = llm.generate(PROMPT, given, use_tqdm=False)
    texts = [one.text for one in output.outputs]
    assert all(is_valid("regex", text) for text in texts)
    assert len({*texts}) > 1


def test_biases_and_penalties_choose_within_the_form(llm: LLM) -> None:
    tokenizer = llm.get_tokenizer()
    assert tokenizer is not None
    likeliest = answer(llm, params("choice"))
    without = {likeliest.token_ids[0]: -100.0}
    other = answer(llm, params("choice", logit_bias=without))
    assert {likeliest.text, other.text} <= {"an old man", "a dog", "a house"}
    assert likeliest.text != other.text
    plain = answer(llm, params("grammar"))
    penalized = answer(llm, params("grammar", presence_penalty=2, repetition_penalty=1.5))
    assert is_valid("grammar", penalized.text)
    assert len({*penalized.token_ids}) > len({*plain.token_ids})


def test_logprobs_are_those_of_the_model_without_the_form(llm: LLM) -> None:
    given = answer(llm, params("choice", logprobs=2))
    assert given.logprobs is not None
    free = answer(llm, params(None, logprobs=2, max_tokens=1))
    assert free.logprobs is not None
    assert len(given.logprobs) == len(given.token_ids)
    assert free.token_ids[0] in given.logprobs[0]
    chosen = given.logprobs[0][given.token_ids[0]]
    assert chosen.rank is not None and chosen.rank > 1


def test_a_stop_string_ends_an_answer_before_its_form_is_complete(llm: LLM) -> None:
    given = answer(llm, params("json_schema", stop=('"age"',)))
    assert (given.finish_reason, given.stop_reason) == ("stop", '"age"')
    assert given.text.startswith('{"name"') or given.text.startswith("{")
    assert '"age"' not in given.text


@pytest.mark.parametrize("held", [{"ignore_eos": True}, {"min_tokens": 60}])
def test_an_answer_goes_on_while_it_may_and_ends_when_it_must(
    llm: LLM, held: dict[str, Any]
) -> None:
    assert is_valid("choice", answer(llm, params("choice", **held)).text)
    digits = StructuredOutput(StructuredOutputKind.REGEX, "[0-9]+")
    given = {"temperature": 0, "max_tokens": 60, "structured_output": digits, **held}
    long = answer(llm, SamplingParams(**given))
    assert (len(long.token_ids), long.finish_reason) == (60, "length")
    assert long.text.isdigit()


def test_special_tokens_have_no_place_inside(llm: LLM) -> None:
    anything = StructuredOutput(StructuredOutputKind.REGEX, r"(.|\n){30,40}")
    tokenizer = llm.get_tokenizer()
    assert tokenizer is not None
    special = {*tokenizer.hf.all_special_ids}
    wanted = dict.fromkeys(special, 100.0)
    given = SamplingParams(max_tokens=90, logit_bias=wanted, structured_output=anything, seed=1)
    drawn = answer(llm, given)
    assert not special & {*drawn.token_ids[:-1]}
    assert 30 <= len(drawn.text) <= 40


def test_bad_specs_are_refused_before_anything_is_computed(llm: LLM) -> None:
    steps = llm.core.stats().totals.steps
    bad = SamplingParams(structured_output=StructuredOutput(StructuredOutputKind.REGEX, "("))
    with pytest.raises(InvalidRequestError, match="unclosed group"):
        llm.generate([PROMPT, PROMPT], [params("choice"), bad], use_tqdm=False)
    assert llm.core.stats().totals.steps == steps


def test_without_a_tokenizer_there_is_no_structured_output() -> None:
    llm = LLM(
        MODEL, device="cpu", skip_tokenizer_init=True, num_gpu_blocks_override=8, max_model_len=64
    )
    with pytest.raises(InvalidRequestError, match="needs a tokenizer") as caught:
        llm.generate([5, 6], params("choice", max_tokens=8), use_tqdm=False)
    assert caught.value.param == "structured_output"


@pytest.mark.gpu
def test_a_gpu_keeps_the_form_with_two_steps_under_way() -> None:
    llm = LLM(MODEL, dtype="bfloat16", num_gpu_blocks_override=64, max_num_seqs=32)
    forms = [*FORMS, None] * 4
    given = [
        params(form, seed=n, temperature=n % 3 / 2, logit_bias={EOS: 5})
        for n, form in enumerate(forms)
    ]
    outputs = llm.generate([PROMPT] * len(given), given, use_tqdm=False)
    ended = [
        is_valid(form, output.outputs[0].text)
        for form, output in zip(forms, outputs, strict=True)
        if form is not None and output.outputs[0].finish_reason == "stop"
    ]
    assert all(ended)
    assert len(ended) >= 12  # the rest are cut: JSON that never ends
