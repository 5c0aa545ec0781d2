"""Conversations over several responses."""

import dataclasses
from typing import Any

import pytest
from openai.types.responses.response_item_list import ResponseItemList

from legato.deployments.openai.app import create_app
from legato.deployments.openai.responses.store import ResponseStore, StoreLimits
from legato.tests.deployments.openai.harness import (
    ScriptedBackend,
    decode,
    encode,
    http_client,
    make_app,
    make_service,
)
from legato.tests.deployments.openai.responses.exchange import (
    CALL,
    PATH,
    THINKING,
    TOOLS,
    get,
    post,
    whole,
)
from legato.tests.deployments.openai.strict import validated

OUTPUT = {"type": "function_call_output", "output": "7"}


def prompts(backend: ScriptedBackend) -> list[str]:
    return [decode(request.prompt_token_ids) for request in backend.requests]


async def test_a_response_goes_on_from_the_one_before_without_its_instructions() -> None:
    backend = ScriptedBackend(encode("Yes."))
    app = make_app(backend)
    first = await whole(app, input="one", instructions="Be brief.")
    second = await whole(app, input="two", previous_response_id=first.id, instructions="Be long.")
    third = await whole(app, input="three", previous_response_id=second.id)
    assert third.previous_response_id == second.id
    assert "system\nBe long." in prompts(backend)[1] and "brief" not in prompts(backend)[1]
    turns = "user\none", "assistant\nYes.", "user\ntwo", "assistant\nYes.", "user\nthree"
    expected = "".join(f"{turn}\n" for turn in turns) + "assistant\n"
    assert prompts(backend)[2] == expected
    items = validated(ResponseItemList, (await get(app, f"{third.id}/input_items")).content)
    assert [item.role for item in items.data] == [  # type: ignore[union-attr]
        *("user", "assistant", "user", "assistant", "user")
    ]


@pytest.mark.parametrize("by_reference", [False, True])
async def test_the_output_of_a_call_follows_the_call(by_reference: bool) -> None:
    backend = ScriptedBackend(encode(CALL))
    app = make_app(backend, dialect=THINKING)
    first = await whole(app, tools=TOOLS)
    call: Any = first.output[0]
    output = {**OUTPUT, "call_id": call.call_id}
    if by_reference:
        items = [{"type": "item_reference", "id": call.id}, output]
        await whole(app, tools=TOOLS, input=items)
    else:
        await whole(app, tools=TOOLS, input=[output], previous_response_id=first.id)
    assert "assistant\n(add [('a', '5 €'), ('b', 2)])\ntool\n7\n" in prompts(backend)[1]


async def test_an_output_can_be_sent_back_whole() -> None:
    backend = ScriptedBackend(encode(f"<think>fox</think>Sure.\n{CALL}"))
    app = make_app(backend, dialect=THINKING)
    first = await whole(app, tools=TOOLS, store=False)
    sent_back = [item.model_dump(exclude_unset=True) for item in first.output]
    call: Any = first.output[-1]
    items = ["hi", *sent_back, {**OUTPUT, "call_id": call.call_id}]
    items[0] = {"role": "user", "content": [{"type": "input_text", "text": "hi"}]}
    await whole(app, tools=TOOLS, input=items, store=False)
    assert "assistant\nSure.(add [('a', '5 €'), ('b', 2)])\ntool\n7\n" in prompts(backend)[1]


async def test_a_call_that_nobody_made_has_no_output() -> None:
    answer = await post(make_app(), input=[{**OUTPUT, "call_id": "call_0"}])
    assert answer.status_code == 400
    assert "call_0" in answer.json()["error"]["message"]


async def test_a_conversation_outlives_the_responses_it_came_from() -> None:
    backend = ScriptedBackend(encode("Yes."))
    app = make_app(backend)
    first = await whole(app, input="one")
    second = await whole(app, input="two", previous_response_id=first.id)
    async with http_client(app) as client:
        await client.delete(f"{PATH}/{first.id}")
    await whole(app, input="three", previous_response_id=second.id)
    assert prompts(backend)[2].startswith("user\none")


async def test_the_oldest_turns_go_where_truncation_is_asked_for() -> None:
    backend = ScriptedBackend(encode("Yes."))
    app = make_app(backend)
    turns = [{"role": "system", "content": "Be brief."}]
    for i in range(40):
        turns.append({"role": "user", "content": f"fox {i}"})
        turns.append({"role": "assistant", "content": "Yes."})
    turns.append({"role": "user", "content": "last"})
    refused = await post(app, input=turns)
    assert refused.json()["error"]["code"] == "context_length_exceeded"
    response = await whole(app, input=turns, truncation="auto", max_output_tokens=20)
    assert response.truncation == "auto"
    [prompt] = prompts(backend)
    assert prompt.startswith("system\nBe brief.\nuser\nfox ")
    assert prompt.endswith("user\nfox 39\nassistant\nYes.\nuser\nlast\nassistant\n")
    assert "fox 0\n" not in prompt
    num_tokens = len(backend.requests[0].prompt_token_ids)
    one_turn = len(encode("<|start|>user\nfox 30<|end|>\n<|start|>assistant\nYes.<|end|>\n"))
    assert 256 - 20 - one_turn < num_tokens <= 256 - 20
    too_long = await post(app, input="fox " * 300, truncation="auto")
    assert too_long.status_code == 400


async def test_all_that_is_kept_counts_for_the_stores_limit() -> None:
    store = ResponseStore(StoreLimits(max_bytes=8000))
    service = dataclasses.replace(make_service(ScriptedBackend(encode("Yes."))), responses=store)
    app = create_app(service)
    small = await whole(app)
    follower = await whole(app, previous_response_id=small.id)
    assert (await get(app, follower.id)).status_code == 200
    large = await whole(app, metadata={f"{i}": "a" * 512 for i in range(16)})
    for response in (small, follower, large):
        assert (await get(app, response.id)).status_code == 404
