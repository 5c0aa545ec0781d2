"""Which specs are taken, what they mean, and which are refused at once."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
from llguidance import LLTokenizer

from legato.engine import grammar_compiler
from legato.engine.builtin_model import builtin_model_directory
from legato.engine.errors import InvalidRequestError
from legato.engine.grammar_compiler import (
    MAX_MESSAGE_CHARS,
    MAX_SPEC_BYTES,
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


@pytest.fixture(scope="module")
def matches(compiler: GrammarCompiler, tokenizer: Tokenizer) -> Callable[..., bool]:
    def matches(kind: StructuredOutputKind, spec: str, text: str) -> bool:
        """Whether the answer may be exactly `text`."""
        grammar = compiler.start(StructuredOutput(kind, spec))
        token_ids = tokenizer.encode(text, add_special_tokens=False)
        num_taken = grammar.matcher.try_consume_tokens(token_ids)
        return num_taken == len(token_ids) and grammar.matcher.is_accepting()

    return matches


@pytest.mark.parametrize(
    ("kind", "spec", "good", "bad"),
    [
        (JSON_SCHEMA, PERSON, '{"name": "Ada", "age": 36}', '{"name": "Ada"}'),
        (JSON_SCHEMA, PERSON, '{\n  "name":"",\n  "age": -1\n}', '{"age": 36, "name": "Ada"}'),
        (JSON_SCHEMA, '{"oneOf":[{"type":"integer"},{"type":"null"}]}', "null", "true"),
        (JSON_OBJECT, "", '{"a": [1, {"b": null}]}', "[1]"),
        (JSON_OBJECT, "", "{}", "{,}"),
        (REGEX, r"\d{3}-[a-z/]+", "123-a/b", "12-ab"),
        (CHOICE, '["yes", "yesterday", "no"]', "yesterday", "yester"),
        (CHOICE, '["yes", "yesterday", "no"]', "yes", "maybe"),
        (CHOICE, json.dumps(['a"b\\c\nd', "é🎉", "/x/"]), 'a"b\\c\nd', "a"),
        (CHOICE, json.dumps(["é🎉", ""]), "é🎉", "é"),
        (GRAMMAR, 'start: "a" B+ // <c>\nB: /[<0-9>]/', "a1<2>", "a"),
        (GRAMMAR, 'root ::= "x" [0-9]+', "x12", "x"),
    ],
)
def test_specs_mean_what_they_say(
    matches: Callable[..., bool], kind: StructuredOutputKind, spec: str, good: str, bad: str
) -> None:
    assert matches(kind, spec, good)
    assert not matches(kind, spec, bad)


def test_json_is_not_padded_with_white_space_for_ever(matches: Callable[..., bool]) -> None:
    assert matches(JSON_SCHEMA, PERSON, '{ "name" : "", "age" : 1 }')
    assert matches(JSON_SCHEMA, PERSON, '{\r\n\t\t"name": "",\n' + " " * 32 + '"age": 1}')
    assert not matches(JSON_SCHEMA, PERSON, '{"name":  "", "age": 1}')
    assert not matches(JSON_SCHEMA, PERSON, '{"name": "",\n\n"age": 1}')


@pytest.mark.parametrize(
    ("kind", "spec", "message"),
    [
        (JSON_SCHEMA, '{"type": "objekt"}', "Invalid type: objekt"),
        (JSON_SCHEMA, '{"not": {}}', 'Unimplemented keys: \\["not"\\]'),
        (JSON_SCHEMA, '{"$ref": "http://example.com/a"}', "example.com"),
        (JSON_SCHEMA, '{"a": 1', "no JSON"),
        (JSON_SCHEMA, '"a"', "must be a JSON object"),
        (JSON_SCHEMA, "[" * 5000, "no JSON"),
        (JSON_SCHEMA, '{"items":' * 400 + "{}" + "}" * 400, "recursion limit"),
        (JSON_SCHEMA, '{"type": "integer", "minimum": 3, "maximum": 2}', "Unsatisfiable"),
        (REGEX, "(", "unclosed group"),
        (REGEX, "(?=a)b", "look-around"),
        (REGEX, "a" * (MAX_SPEC_BYTES + 1), "longer than 65536 bytes"),
        (REGEX, "\ud800", "surrogates"),
        (CHOICE, "[]", "at least one"),
        (CHOICE, '["a", 1]', "list of strings"),
        (CHOICE, '{"a": 1}', "list of strings"),
        (GRAMMAR, 'a: "x"', "no start rule"),
        (GRAMMAR, "", "Empty grammar"),
        (GRAMMAR, 'root ::= "a', "end of input"),
        (GRAMMAR, 'start: start "a"', "too complex, or nothing matches"),
        (GRAMMAR, "start: <|im_end|>", "special tokens"),
        (GRAMMAR, 'start: "a" <[5]> /b/', "special tokens"),
    ],
)
def test_bad_specs_are_refused_under_the_clients_name_for_them(
    compiler: GrammarCompiler, kind: StructuredOutputKind, spec: str, message: str
) -> None:
    for _ in range(2):  # the second time from memory
        with pytest.raises(InvalidRequestError, match=message) as caught:
            compiler.compile_check(StructuredOutput(kind, spec), "response_format")
        assert caught.value.param == "response_format"
        assert len(str(caught.value)) < MAX_MESSAGE_CHARS + 100
        assert "\n" not in str(caught.value)


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


def test_the_oldest_grammars_are_forgotten(compiler: GrammarCompiler) -> None:
    for n in range(NUM_KEPT + 5):
        compiler.compile_check(StructuredOutput(REGEX, f"forgotten{n}"), "x")
    kept = [structured.spec for structured in compiler._compiled]
    assert kept == [f"forgotten{n}" for n in range(5, NUM_KEPT + 5)]


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
