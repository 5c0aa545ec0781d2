"""Tools, calls and forms that nobody should send: no fault of ours, whatever they hold."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from legato.deployments.openai.message.dialect import Dialect
from legato.deployments.openai.message.tool_syntax import HERMES
from legato.tests.deployments.openai.harness import ScriptedBackend, http_client, make_app

APP = make_app(ScriptedBackend(reply=(5, 6)), dialect=Dialect(HERMES))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
NAMES = st.text(max_size=3)
FUNCTION = st.fixed_dictionaries(
    {"name": NAMES}, optional={"parameters": JSON, "strict": JSON, "arguments": JSON}
)
TOOL = st.fixed_dictionaries({"type": st.sampled_from(["function", "x"]), "function": FUNCTION})
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["assistant", "tool", "user"])},
    optional={
        "content": st.none() | st.text(max_size=3),
        "tool_calls": st.lists(TOOL, max_size=2),
        "tool_call_id": NAMES,
        "reasoning": NAMES,
    },
)
SCHEMA = JSON | st.fixed_dictionaries({"type": JSON})
RESPONSE_FORMAT = st.fixed_dictionaries(
    {"type": st.sampled_from(["json_schema", "json_object", "text"])},
    optional={"json_schema": st.fixed_dictionaries({"schema": SCHEMA})},
)
FORM_NAMES = st.sampled_from(["json", "regex", "choice", "grammar", "json_object"])
BODY = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGE, min_size=1, max_size=3)},
    optional={
        "tools": st.lists(TOOL, max_size=2),
        "tool_choice": st.sampled_from(["auto", "required", "none", None]) | JSON | TOOL,
        "response_format": RESPONSE_FORMAT,
        "structured_outputs": st.dictionaries(FORM_NAMES, JSON, max_size=2),
        "stream": st.booleans(),
    },
)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/tokenize"])
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(body=BODY)
async def test_no_tools_and_no_forms_are_a_fault_of_ours(path: str, body: dict[str, Any]) -> None:
    async with http_client(APP) as client:
        answer = await client.post(path, content=json.dumps(body))
    assert answer.status_code in (200, 400), answer.text
    if answer.status_code == 400:
        assert answer.json()["error"]["message"]
