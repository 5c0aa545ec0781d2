"""What a request for a response may not say."""

from typing import Any

import pytest

from legato.deployments.openai.responses.request import (
    ReasoningOptions,
    ResponsesRequest,
    check_request,
)
from legato.engine.errors import InvalidRequestError


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"conversation": "conv_1"}, "conversation"),
        ({"moderation": {"model": "a"}}, "moderation"),
        ({"max_tokens": 5}, "max_tokens"),
        ({"n": 2}, "n"),
        ({"return_token_ids": True}, "return_token_ids"),
        ({"return_timeline": True}, "return_timeline"),
        ({"include": ["reasoning.encrypted_content", "a"]}, "include[1]"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_tool_calls": 0}, "max_tool_calls"),
        ({"background": True, "store": False}, "background"),
        ({"metadata": {str(i): "" for i in range(17)}}, "metadata"),
        ({"metadata": {"a" * 65: ""}}, "metadata"),
        ({"metadata": {"a": "b" * 513}}, "metadata"),
    ],
    ids=str,
)
def test_what_is_not_possible_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as refusal:
        check_request(ResponsesRequest(**fields))
    assert refusal.value.param == param


def test_what_asks_for_nothing_is_fine() -> None:
    metadata = {"a" * 64: "b" * 512}
    check_request(ResponsesRequest(n=1, conversation=None, background=False, metadata=metadata))


@pytest.mark.parametrize(
    "options", [ReasoningOptions(summary="auto"), ReasoningOptions(generate_summary="concise")]
)
def test_a_summary_has_two_names(options: ReasoningOptions) -> None:
    assert ResponsesRequest(reasoning=options).wants_summary
    assert not ResponsesRequest(reasoning=ReasoningOptions("low")).wants_summary
