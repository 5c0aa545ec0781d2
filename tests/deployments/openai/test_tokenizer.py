"""Tokenizing off the loop, and its limits."""

import threading
from typing import Any

import pytest

from legato.deployments.openai.schema import TokenizeRequest
from legato.deployments.openai.tokenizer import ChatOptions, TokenizerService
from legato.engine.errors import ContextLengthError, InvalidRequestError, OverloadedError
from legato.engine.tokenizer import Tokenizer
from legato.tests.deployments.openai.harness import MAX_MODEL_LEN, encode, tiny_tokenizer

CONVERSATION = [{"role": "user", "content": "hi"}]


def _service(**options: Any) -> TokenizerService:
    return TokenizerService(Tokenizer(tiny_tokenizer()), MAX_MODEL_LEN, **options)


async def test_texts_and_ids_go_there_and_back() -> None:
    service = _service()
    assert await service.encode("The fox", True, "prompt") == encode("The fox")
    assert await service.decode(encode("The fox")) == "The fox"
    service.close()


async def test_a_text_is_refused_by_its_length_before_it_is_tokenized() -> None:
    longest = max(len(token) for token in tiny_tokenizer().get_vocab())
    service = _service()
    await service.encode("a" * (MAX_MODEL_LEN * longest), True, "prompt")
    with pytest.raises(ContextLengthError) as refusal:
        await service.encode("a" * (MAX_MODEL_LEN * longest + 1), True, "prompt")
    assert refusal.value.param == "prompt"


async def test_a_conversation_is_refused_by_its_length_before_it_is_rendered() -> None:
    turns = [{"role": "user", "content": "please fail"}, {"role": "user", "content": "a" * 100_000}]
    with pytest.raises(ContextLengthError):
        await _service().encode_chat(turns, ChatOptions())


async def test_a_template_that_raises_is_the_clients_error_with_its_reason() -> None:
    with pytest.raises(InvalidRequestError, match="this conversation is refused"):
        await _service().encode_chat([{"role": "user", "content": "please fail"}], ChatOptions())


@pytest.mark.parametrize("name", ["tokenize", "chat_template", "messages", "eos_token", "tools"])
async def test_a_reserved_template_variable_cannot_be_set(name: str) -> None:
    with pytest.raises(InvalidRequestError, match=name):
        await _service().encode_chat(CONVERSATION, ChatOptions(template_kwargs={name: "x"}))


async def test_work_that_takes_too_long_is_given_up() -> None:
    released = threading.Event()
    service = _service(num_threads=1, timeout_s=0.01)
    blocker = service._threads.submit(released.wait)
    with pytest.raises(OverloadedError):
        await service.encode("a", True, "prompt")
    released.set()
    assert blocker.result()


def test_the_assistants_turn_is_opened_unless_it_is_continued() -> None:
    assert ChatOptions.of(TokenizeRequest()).add_generation_prompt
    continued = ChatOptions.of(TokenizeRequest(continue_final_message=True))
    assert not continued.add_generation_prompt
    with pytest.raises(InvalidRequestError):
        ChatOptions.of(TokenizeRequest(continue_final_message=True, add_generation_prompt=True))


async def test_a_model_without_a_template_says_where_to_go() -> None:
    tokenizer = tiny_tokenizer()
    template, tokenizer.chat_template = tokenizer.chat_template, None
    try:
        with pytest.raises(InvalidRequestError, match="/v1/completions"):
            await _service().encode_chat(CONVERSATION, ChatOptions())
    finally:
        tokenizer.chat_template = template
