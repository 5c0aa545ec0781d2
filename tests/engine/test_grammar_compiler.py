"""Grammars are compiled once, within limits, and kept for a while."""

import json
import subprocess
import sys
import threading
import time

import pytest
from llguidance import LLTokenizer

from legato.engine import grammar_compiler
from legato.engine.builtin_model import builtin_model_directory
from legato.engine.errors import ConfigError, InvalidRequestError
from legato.engine.grammar_compiler import (
    MAX_KEPT_BYTES,
    NUM_KEPT,
    GrammarCompiler,
    load_vocabulary,
)
from legato.engine.structured_output import StructuredOutput, StructuredOutputKind
from legato.engine.tokenizer import Tokenizer

CHOICE, GRAMMAR, JSON_OBJECT, JSON_SCHEMA, REGEX = (
    StructuredOutputKind[name]
    for name in ("CHOICE", "GRAMMAR", "JSON_OBJECT", "JSON_SCHEMA", "REGEX")
)
PERSON = json.dumps(
    {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
)
MODEL = str(builtin_model_directory())


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(MODEL)


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    return GrammarCompiler.for_model(MODEL, 2048, (2,))


def test_a_spec_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grammar_compiler, "MAX_COMPILE_S", 0.0)
    compiler = GrammarCompiler.for_model(MODEL, 2048, (2,))
    with pytest.raises(InvalidRequestError, match="too long"):
        compiler.compile_check(StructuredOutput(JSON_SCHEMA, PERSON), "response_format")


HOSTILE = [
    (REGEX, "(.*a){200}b"),
    (REGEX, "|".join(f".*{n:05}.*" for n in range(2000))),
    (REGEX, r"((((a{1,100}){1,100}){1,100}){1,100}){1,100}"),
    (CHOICE, json.dumps([f"choice {n}" for n in range(4000)])),
    (GRAMMAR, "start: " + "|".join(f'"{n}"' for n in range(8000))),
    (
        JSON_SCHEMA,
        json.dumps({"properties": {f"k{n}": {"pattern": f"^a{n}"} for n in range(1500)}}),
    ),
]


@pytest.mark.parametrize(("kind", "spec"), HOSTILE)
def test_whatever_a_spec_asks_for_compiling_has_an_end(
    compiler: GrammarCompiler, kind: StructuredOutputKind, spec: str
) -> None:
    compiler.compile_check(StructuredOutput(REGEX, "a"), "x")  # the vocabulary is there
    started_s = time.thread_time()
    try:
        compiler.compile_check(StructuredOutput(kind, spec), "x")
    except InvalidRequestError as error:
        assert error.param == "x"
    assert time.thread_time() - started_s < 2


def test_what_is_asked_for_at_once_is_compiled_once(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[StructuredOutput] = []
    compile_one = grammar_compiler._compile

    def counted(structured: StructuredOutput, vocabulary: LLTokenizer) -> object:
        calls.append(structured)
        return compile_one(structured, vocabulary)

    monkeypatch.setattr(grammar_compiler, "_compile", counted)
    loads: list[int] = []

    def load() -> LLTokenizer:
        loads.append(1)
        return load_vocabulary(tokenizer)

    compiler = GrammarCompiler(load)
    given = StructuredOutput(JSON_SCHEMA, PERSON)
    threads = [threading.Thread(target=compiler.compile_check, args=(given, "x")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (calls, len(loads)) == ([given], 1)


def test_a_vocabulary_can_be_loaded_before_anybody_needs_it(tokenizer: Tokenizer) -> None:
    loads: list[threading.Thread] = []

    def load() -> LLTokenizer:
        loads.append(threading.current_thread())
        return load_vocabulary(tokenizer)

    compiler = GrammarCompiler(load)
    thread = threading.Thread(target=compiler.load)
    thread.start()
    compiler.compile_check(StructuredOutput(JSON_OBJECT), "x")  # in time or not
    thread.join()
    assert len(loads) == 1


def test_a_vocabulary_that_cannot_be_loaded_is_told_to_those_who_need_it() -> None:
    compiler = GrammarCompiler.for_model("/nowhere/at/all", 2048, (2,))
    compiler.load()
    with pytest.raises(ConfigError):
        compiler.compile_check(StructuredOutput(JSON_OBJECT), "x")


def test_the_oldest_grammars_are_forgotten(compiler: GrammarCompiler) -> None:
    for n in range(NUM_KEPT + 5):
        compiler.compile_check(StructuredOutput(REGEX, f"forgotten{n}"), "x")
    kept = [structured.spec for structured in compiler._compiled]
    assert kept == [f"forgotten{n}" for n in range(5, NUM_KEPT + 5)]


def test_large_grammars_are_forgotten_earlier_but_for_the_newest(
    tokenizer: Tokenizer,
) -> None:
    compiler = GrammarCompiler(lambda: load_vocabulary(tokenizer))
    for n in range(20):
        compiler.compile_check(StructuredOutput(REGEX, f"{n}|" * (MAX_KEPT_BYTES // 20)), "x")
        assert sum(len(one.spec) for one in compiler._compiled) <= MAX_KEPT_BYTES
    assert 3 < len(compiler._compiled) < 9
    assert next(reversed(compiler._compiled)).spec.startswith("19|")


def test_a_vocabulary_covers_model_and_tokenizer_and_knows_what_ends_an_answer(
    tokenizer: Tokenizer,
) -> None:
    padded = load_vocabulary(tokenizer, 2100, (2, 0, 5000))
    assert (padded.vocab_size, padded.eos_tokens) == (2100, [2, 0])
    alone = load_vocabulary(tokenizer)
    assert (alone.vocab_size, alone.eos_tokens) == (2048, [2])


def test_a_router_can_check_specs_without_torch() -> None:
    check = (
        "import sys, legato.engine.grammar_compiler as g, legato.engine.structured_output as s;"
        f"c = g.GrammarCompiler.for_model({MODEL!r}, 2048, (2,));"
        "c.compile_check(s.StructuredOutput('json_object'), 'x'); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", check], check=True)
