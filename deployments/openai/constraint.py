"""The form that a client wants of an answer, from the fields that ask for it.

| field | values |
|---|---|
| response_format (OpenAI) | text, json_object, json_schema |
| structured_outputs (vLLM) | one of json, json_object, regex, choice, grammar |
| guided_json, guided_regex, ... | vLLM's older names of the same |
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from legato.deployments.openai.schema import GenerationFields
from legato.engine.errors import InvalidRequestError
from legato.engine.structured_output import StructuredOutput, StructuredOutputKind

_OLD_FIELDS = ("guided_json", "guided_regex", "guided_choice", "guided_grammar")


@dataclass(frozen=True, slots=True)
class Constraint:
    """What an answer is held to, and the client's field that says so."""

    output: StructuredOutput
    param: str
    forms: "tuple[Constraint, ...]" = ()  # that it lets an answer choose from

    @classmethod
    def any_of(cls, *forms: "Constraint") -> "Constraint":
        """An answer may have either of these forms."""
        pairs = [(form.output.kind, form.output.spec) for form in forms]
        output = StructuredOutput(StructuredOutputKind.ANY_OF, _as_json(pairs))
        return cls(output, forms[-1].param, forms)


def read_constraint(fields: GenerationFields) -> Constraint | None:
    """What a request holds its answers to; None: nothing.

    Raises:
        InvalidRequestError: a field is malformed, its form is not supported, or there are two.
    """
    found = [_of_response_format(fields.response_format), _of_vllm(fields.structured_outputs)]
    for name in _OLD_FIELDS:
        value = getattr(fields, name)
        if value is not None:
            found.append(_of_value(name.removeprefix("guided_"), value, name))
    constraints = [constraint for constraint in found if constraint is not None]
    if len(constraints) > 1:
        first, second = constraints[:2]
        raise InvalidRequestError(f"cannot be combined with {first.param}", second.param)
    return constraints[0] if constraints else None


def _of_response_format(given: Mapping[str, Any] | None) -> Constraint | None:
    param = "response_format"
    if given is None:
        return None
    match given.get("type"):
        case "text":
            return None
        case "json_object":
            return Constraint(StructuredOutput(StructuredOutputKind.JSON_OBJECT), param)
        case "json_schema":
            return _of_json_schema(given.get("json_schema"), f"{param}.json_schema")
    raise InvalidRequestError("must be 'text', 'json_object' or 'json_schema'", f"{param}.type")


def _of_json_schema(given: Any, param: str) -> Constraint:
    if not isinstance(given, dict):
        raise InvalidRequestError("must be an object with a name and a schema", param)
    schema = given.get("schema")
    if schema is None:
        return Constraint(StructuredOutput(StructuredOutputKind.JSON_OBJECT), param)
    return _of_value("json", schema, f"{param}.schema")


def _of_vllm(given: Mapping[str, Any] | None) -> Constraint | None:
    param = "structured_outputs"
    named = {
        name: value
        for name, value in (given or {}).items()
        if value is not None and name in (*_READERS, "json_object", "structural_tag")
    }
    if named.pop("json_object", False):
        named["json_object"] = True
    if not named:
        return None
    if len(named) > 1:
        raise InvalidRequestError(f"only one of {', '.join(sorted(named))}", param)
    [(name, value)] = named.items()
    if name == "json_object":
        return Constraint(StructuredOutput(StructuredOutputKind.JSON_OBJECT), param)
    if name == "structural_tag":
        raise InvalidRequestError("is not supported", f"{param}.structural_tag")
    return _of_value(name, value, f"{param}.{name}")


def _of_value(name: str, value: Any, param: str) -> Constraint:
    """`name` is one of vLLM's: json, regex, choice, grammar."""
    kind = _READERS[name]
    if kind is StructuredOutputKind.JSON_SCHEMA and isinstance(value, dict):
        value = _as_json(value)
    elif kind is StructuredOutputKind.CHOICE:
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise InvalidRequestError("must be a list of strings", param)
        value = _as_json(value)
    elif not isinstance(value, str):
        expected = "an object" if name == "json" else "a string"
        raise InvalidRequestError(f"must be {expected}", param)
    return Constraint(StructuredOutput(kind, value), param)


_READERS: Mapping[str, StructuredOutputKind] = {
    "json": StructuredOutputKind.JSON_SCHEMA,
    "regex": StructuredOutputKind.REGEX,
    "choice": StructuredOutputKind.CHOICE,
    "grammar": StructuredOutputKind.GRAMMAR,
}


def _as_json(value: object) -> str:
    return msgspec.json.encode(value).decode()
