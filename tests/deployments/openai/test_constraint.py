"""What answers are to be held to, from all the fields that say so."""

import json
from typing import Any

import msgspec
import pytest

from legato.deployments.openai.constraint import read_constraint
from legato.deployments.openai.schema import CompletionRequest
from legato.engine.errors import InvalidRequestError
from legato.engine.structured_output import StructuredOutput, StructuredOutputKind

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
JSON_OBJECT = StructuredOutput(StructuredOutputKind.JSON_OBJECT)


def _read(**fields: Any) -> tuple[StructuredOutput, str] | None:
    request = msgspec.convert({"prompt": "a", **fields}, CompletionRequest)
    constraint = read_constraint(request)
    return None if constraint is None else (constraint.output, constraint.param)


def _schema_of(found: tuple[StructuredOutput, str] | None) -> Any:
    assert found is not None and found[0].kind is StructuredOutputKind.JSON_SCHEMA
    return json.loads(found[0].spec)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"response_format": None},
        {"response_format": {"type": "text"}},
        {"structured_outputs": {}},
        {"structured_outputs": {"json": None, "json_object": False, "whitespace_pattern": " "}},
    ],
)
def test_most_requests_ask_for_no_form(fields: dict[str, Any]) -> None:
    assert _read(**fields) is None


@pytest.mark.parametrize("strict", [True, False, None])
def test_a_json_schema_is_taken_from_openais_field(strict: bool | None) -> None:
    given = {
        "type": "json_schema",
        "json_schema": {"name": "a", "schema": SCHEMA, "strict": strict},
    }
    found = _read(response_format=given)
    assert _schema_of(found) == SCHEMA
    assert found is not None and found[1] == "response_format.json_schema.schema"


def test_a_json_object_is_any_object() -> None:
    assert _read(response_format={"type": "json_object"}) == (JSON_OBJECT, "response_format")
    assert _read(structured_outputs={"json_object": True}) == (JSON_OBJECT, "structured_outputs")


@pytest.mark.parametrize("schema", [SCHEMA, json.dumps(SCHEMA)])
def test_vllms_names_old_and_new_take_schemas_as_objects_and_as_text(schema: Any) -> None:
    assert _schema_of(_read(structured_outputs={"json": schema})) == SCHEMA
    assert _schema_of(_read(guided_json=schema)) == SCHEMA


@pytest.mark.parametrize(
    ("name", "value", "spec"),
    [("regex", "a+", "a+"), ("choice", ["a", "b"], '["a","b"]'), ("grammar", 'start: "a"', None)],
)
def test_vllms_other_forms_keep_their_names(name: str, value: Any, spec: str | None) -> None:
    expected = StructuredOutput(StructuredOutputKind(name), spec or value)
    assert _read(structured_outputs={name: value}) == (expected, f"structured_outputs.{name}")
    assert _read(**{f"guided_{name}": value}) == (expected, f"guided_{name}")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": 5}}},
            "response_format.json_schema.schema",
        ),
        ({"structured_outputs": {"structural_tag": "x"}}, "structured_outputs.structural_tag"),
        ({"structured_outputs": {"json": "{}", "regex": "a"}}, "structured_outputs"),
        ({"structured_outputs": {"choice": "a"}}, "structured_outputs.choice"),
        ({"structured_outputs": {"regex": 5}}, "structured_outputs.regex"),
        ({"guided_regex": "a", "guided_choice": ["a"]}, "guided_choice"),
        ({"response_format": {"type": "json_object"}, "guided_json": "{}"}, "guided_json"),
    ],
)
def test_a_malformed_form_and_two_of_them_are_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        _read(**fields)
    assert refusal.value.param == param
