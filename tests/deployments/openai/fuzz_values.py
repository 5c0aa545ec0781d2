"""Values for fields: of their types, of wrong types, and those that break careless servers."""

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from msgspec import inspect as shapes

_NEST_MARK = "@nest-{}@"
_NEST_DEPTHS = (30, 200, 3000)
_BOUNDARIES = (0, 1, -1, 2, 127, 128, 2**31 - 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**400)
_STRINGS = (
    *("", " ", "\0", "\ud800", "a\udfffb", "\u202egnirts", "é" * 3, "🎉" * 40, "x" * 5000),
    *("{{ 7 * 7 }}", "{% for i in range(10**9) %}x{% endfor %}", "{{ ''.__class__ }}", "%s%n"),
    *("<|im_end|>", "<|im_start|>system", "<tool_call>", "</think>", "../../etc/passwd", "null"),
    *("\r\n\r\n", "data: [DONE]\n\n", "'; DROP TABLE x; --", "NaN", "1e999", "token_id:5"),
)

INTEGERS = st.sampled_from(_BOUNDARIES) | st.integers(-5, 300)
NUMBERS = INTEGERS | st.floats() | st.sampled_from((0.5, 5e-324, 1e308, -0.0))
TEXTS = st.sampled_from(_STRINGS) | st.text(max_size=8)
NESTS = st.sampled_from([_NEST_MARK.format(depth) for depth in _NEST_DEPTHS])
ANY_JSON: SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)
HOSTILE: SearchStrategy[Any] = st.one_of(ANY_JSON, NESTS, NUMBERS)


def mostly(usual: SearchStrategy[Any], rare: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """One in six is rare."""
    return st.integers(0, 5).flatmap(lambda drawn: rare if drawn == 5 else usual)


def expand_nests(body: bytes) -> bytes:
    """Puts lists in lists where their mark is: json.dumps could not write that many."""
    for depth in _NEST_DEPTHS:
        mark = f'"{_NEST_MARK.format(depth)}"'.encode()
        body = body.replace(mark, b"[" * depth + b"]" * depth)
    return body


def values_of_type(kind: shapes.Type) -> SearchStrategy[Any]:
    """What decodes as `kind`, near the edges of what it may be."""
    match kind:
        case shapes.UnionType():
            return st.one_of([values_of_type(one) for one in kind.types])
        case shapes.ListType():
            return st.lists(values_of_type(kind.item_type), max_size=3)
        case shapes.DictType():
            keys = TEXTS | INTEGERS.map(str)
            return st.dictionaries(keys, values_of_type(kind.value_type), max_size=3)
        case shapes.StructType():
            fields = {field.name: values_of_type(field.type) for field in kind.fields}
            needed = {field.name: fields.pop(field.name) for field in kind.fields if field.required}
            return st.fixed_dictionaries(needed, optional=fields)
        case shapes.LiteralType():
            return st.sampled_from(kind.values)
        case _:
            return _SIMPLE[type(kind)]


_SIMPLE: Mapping[type[shapes.Type], SearchStrategy[Any]] = {
    shapes.NoneType: st.none(),
    shapes.BoolType: st.booleans(),
    shapes.IntType: INTEGERS,
    shapes.FloatType: NUMBERS,
    shapes.StrType: TEXTS,
    shapes.AnyType: ANY_JSON,
}


def _schemas() -> SearchStrategy[Any]:
    """JSON schemas: sound ones, unsound ones, and some that are dear to compile."""
    leaves = st.sampled_from(
        (
            {},
            {"type": "string"},
            {"type": "string", "maxLength": 10**9},
            {"type": "string", "pattern": "(a+)+$"},
            {"type": "string", "pattern": "["},
            {"type": "string", "format": "no-such-format"},
            {"type": "integer", "minimum": 10, "maximum": 1},
            {"type": "number", "multipleOf": 0},
            {"type": "array", "minItems": 10**9},
            {"type": ["string", "null"]},
            {"type": "nothing"},
            {"enum": []},
            {"enum": list(range(500))},
            {"const": "\ud800"},
            {"$ref": "#"},
            {"$ref": "#/no/such/place"},
            {"$ref": "http://127.0.0.1:1/schema.json"},
            {"not": {}},
            {"properties": 5},
            True,
            5,
        )
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.dictionaries(st.sampled_from("abc"), inner, max_size=3).map(
                lambda found: {"type": "object", "properties": found, "required": sorted(found)}
            ),
            inner.map(lambda found: {"type": "array", "items": found}),
            st.lists(inner, max_size=2).map(lambda found: {"anyOf": found}),
            inner.map(lambda found: {"$defs": {"x": found}, "$ref": "#/$defs/x"}),
        ),
        max_leaves=4,
    )


def _objects(needed: Mapping[str, Any], optional: Mapping[str, Any]) -> SearchStrategy[Any]:
    return st.fixed_dictionaries(dict(needed), optional=dict(optional))


SCHEMAS = _schemas() | NESTS
_NAMES = st.sampled_from(("add", "get_weather", "", "a b", "x" * 65, "naïve", "</tool_call>"))
_REGEXES = st.sampled_from(
    (
        *("a+", "[", "(", "(a|b){1,100000}", "(?=a)b", r"\p{L}{3}", "", "(((a{99}){99}){99}){99}"),
        *(".*" * 50, "\0", "\ud800", "a" * 5000, r"(.)\1", "(?i)yes|no", "^$"),
    )
)
_GRAMMARS = st.sampled_from(
    (
        *('start: "a"', "start: start", "start: missing", "", "%json {}", "start: /(/"),
        *('root ::= "a" root | "b"', 'start: a\na: b\nb: "x"{1,100000}', "%import x.y", "\0"),
    )
)
_FUNCTIONS = _objects(
    {"name": _NAMES}, {"parameters": SCHEMAS, "strict": st.booleans(), "description": TEXTS}
)
_TOOLS = st.lists(
    st.one_of(
        _FUNCTIONS.map(lambda function: {"type": "function", "function": function}),
        _FUNCTIONS.map(lambda function: {"type": "function", **function}),
        st.sampled_from(({"type": "web_search"}, {"type": "mcp", "server_url": "http://x"}, {})),
    ),
    max_size=3,
)
_CALLS = st.lists(
    st.builds(
        lambda name, arguments: {
            "id": "call_1",
            "type": "function",
            "function": {"name": name, "arguments": arguments},
        },
        _NAMES,
        st.sampled_from(("{}", "", "[1]", "{", '{"a": NaN}', '{"a": 1}')) | ANY_JSON,
    ),
    max_size=2,
)
_ROLES = st.sampled_from(("system", "developer", "user", "assistant", "tool", "king"))
_PARTS = st.lists(
    _objects(
        {"type": st.sampled_from(("text", "input_text", "output_text", "image_url", "refusal"))},
        {"text": TEXTS, "refusal": TEXTS},
    ),
    max_size=3,
)
_MESSAGES = st.lists(
    _objects(
        {"role": _ROLES},
        {
            "content": TEXTS | _PARTS | st.none(),
            "name": TEXTS,
            "tool_calls": _CALLS,
            "tool_call_id": TEXTS,
            "reasoning_content": TEXTS,
        },
    ),
    max_size=4,
)
_ITEMS = st.lists(
    st.one_of(
        _objects({"role": _ROLES, "content": TEXTS | _PARTS}, {"type": st.just("message")}),
        _objects(
            {"type": st.just("function_call"), "call_id": TEXTS, "name": _NAMES},
            {"arguments": st.sampled_from(("{}", "{", "", "[]"))},
        ),
        _objects({"type": st.just("function_call_output"), "call_id": TEXTS}, {"output": TEXTS}),
        _objects({"type": st.just("reasoning")}, {"summary": _PARTS, "id": TEXTS}),
        _objects({"type": st.sampled_from(("item_reference", "computer_call", ""))}, {"id": TEXTS}),
    ),
    max_size=4,
)
_FORMS = st.one_of(
    st.just({"type": "json_object"}),
    st.just({"type": "text"}),
    st.builds(
        lambda name, schema: {
            "type": "json_schema",
            "json_schema": {"name": name, "schema": schema, "strict": True},
        },
        _NAMES,
        SCHEMAS,
    ),
    st.builds(
        lambda name, schema: {"type": "json_schema", "name": name, "schema": schema},
        _NAMES,
        SCHEMAS,
    ),
)
_SMALL = st.integers(1, 6)
# By the names of fields: what reaches further into the server than a random value of the type.
TELLING_VALUES: Mapping[str, SearchStrategy[Any]] = {
    "model": st.sampled_from((None, None, "nobody", "", "x" * 3000)),
    "n": st.integers(0, 5),
    "max_tokens": _SMALL,
    "max_completion_tokens": _SMALL,
    "max_output_tokens": _SMALL,
    "stream": st.just(True),
    "stop": st.lists(st.sampled_from(("a", "\n", "fox", "\0")), max_size=5),
    "logprobs": st.booleans() | st.integers(-1, 21),
    "top_logprobs": st.integers(-1, 21),
    "prompt_logprobs": st.integers(-1, 21),
    "logit_bias": st.dictionaries(st.integers(-2, 300).map(str), NUMBERS, max_size=3),
    "messages": _MESSAGES,
    "input": _ITEMS | TEXTS | st.lists(TEXTS, max_size=3) | st.lists(INTEGERS, max_size=5),
    "tools": _TOOLS,
    "tool_choice": st.sampled_from(
        (
            *("auto", "none", "required", "sideways"),
            {"type": "function", "function": {"name": "add"}},
            {"type": "function", "name": "add"},
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function"}]},
        )
    ),
    "response_format": _FORMS,
    "text": _FORMS.map(lambda form: {"format": form}),
    "guided_json": SCHEMAS,
    "guided_regex": _REGEXES,
    "guided_grammar": _GRAMMARS,
    "guided_choice": st.lists(TEXTS, max_size=3),
    "structured_outputs": st.one_of(
        SCHEMAS.map(lambda schema: {"json": schema}),
        _REGEXES.map(lambda regex: {"regex": regex}),
        _GRAMMARS.map(lambda grammar: {"grammar": grammar}),
        st.lists(TEXTS, max_size=3).map(lambda choice: {"choice": choice}),
        SCHEMAS.map(lambda schema: {"structural_tag": schema}),
    ),
    "chat_template_kwargs": st.dictionaries(
        st.sampled_from(("mood", "thinks", "messages", "tools", "enable_thinking", "self", "")),
        ANY_JSON,
        max_size=3,
    ),
    "previous_response_id": st.sampled_from(("resp_x", "", "\0", "x" * 4000)),
    "tokens": st.lists(st.integers(-1, 500), max_size=20),
    "truncate_prompt_tokens": st.integers(-2, 10),
}
