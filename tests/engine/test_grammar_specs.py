"""Which specs are taken, what they mean, and which are refused at once."""

import json
from collections.abc import Callable

import pytest

from legato.engine.builtin_model import builtin_model_directory
from legato.engine.errors import InvalidRequestError
from legato.engine.grammar_compiler import GrammarCompiler
from legato.engine.grammar_specs import MAX_MESSAGE_CHARS, MAX_SPEC_BYTES
from legato.engine.structured_output import StructuredOutput, StructuredOutputKind
from legato.engine.tokenizer import Tokenizer

ANY_OF, CALLS, CHOICE, GRAMMAR, JSON_OBJECT, JSON_SCHEMA, REGEX = (
    StructuredOutputKind[name]
    for name in ("ANY_OF", "CALLS", "CHOICE", "GRAMMAR", "JSON_OBJECT", "JSON_SCHEMA", "REGEX")
)
PERSON = json.dumps(
    {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
)
ANY = json.dumps([["json_schema", PERSON], ["regex", "a/b"], ["grammar", 'root ::= "x" [0-9]+']])
MODEL = str(builtin_model_directory())


@pytest.fixture(scope="module")
def compiler() -> GrammarCompiler:
    return GrammarCompiler.for_model(MODEL, 2048, (2,))


@pytest.fixture(scope="module")
def matches(compiler: GrammarCompiler) -> Callable[..., bool]:
    tokenizer = Tokenizer.load(MODEL)

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
        (CALLS, "start: <[1]> /[0-9]+/", "<|im_start|>12", "12"),
        (ANY_OF, ANY, "x12", "y"),
        (ANY_OF, ANY, '{"name": "Ada", "age": 36}', '{"name": "Ada"}'),
        (ANY_OF, ANY, "a/b", "a/bx12"),
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
        (GRAMMAR, '{"grammars": [{"lark_grammar": "start: <[5]>"}]}', "Lark or GBNF"),
        (GRAMMAR, ' {"grammars": []}', "Lark or GBNF"),
        (CALLS, "start: <[5000]>", "Token range"),
        (ANY_OF, "[]", "1 to 8 forms"),
        (ANY_OF, json.dumps([["choice", '["a"]']] * 9), "1 to 8 forms"),
        (ANY_OF, '{"regex": "a"}', "1 to 8 forms"),
        (ANY_OF, '["regex", "a"]', "a kind and a spec"),
        (ANY_OF, '[["any_of", "[]"]]', "a kind and a spec"),
        (ANY_OF, '[["choice", "[]"]]', "at least one"),
        (ANY_OF, '[["grammar", "{}"]]', "Lark or GBNF"),
        (ANY_OF, '[["grammar", "start: <[5]>"]]', "special tokens"),
        (ANY_OF, json.dumps([["regex", "a" * (MAX_SPEC_BYTES + 1)]]), "longer than 65536 bytes"),
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
