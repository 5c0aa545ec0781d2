"""The shapes in which clients send prompts and conversations, brought to one."""

from collections.abc import Sequence

from legato.deployments.openai.schema import ChatMessage, Prompt
from legato.engine.errors import InvalidRequestError

ROLES = ("system", "developer", "user", "assistant")


def split_prompts(prompt: Prompt) -> list[str | list[int]]:
    """One entry for each prompt: a text, or token ids.

    Raises:
        InvalidRequestError: there is no prompt, or texts and token ids are mixed.
    """
    if isinstance(prompt, str):
        return [prompt]
    if not prompt:
        raise InvalidRequestError("must not be empty", "prompt")
    kind = type(prompt[0])
    if any(type(part) is not kind for part in prompt):
        raise InvalidRequestError("must not mix texts and token ids", "prompt")
    if kind is int:
        return [[part for part in prompt if isinstance(part, int)]]
    return [part for part in prompt if not isinstance(part, int)]


def check_token_ids(token_ids: Sequence[int], vocab_size: int, param: str) -> None:
    """Refuses ids that the model does not have; no id reaches a worker unchecked.

    Raises:
        InvalidRequestError: an id is outside 0..vocab_size-1.
    """
    if token_ids and not (min(token_ids) >= 0 and max(token_ids) < vocab_size):
        wrong = next(token_id for token_id in token_ids if not 0 <= token_id < vocab_size)
        raise InvalidRequestError(
            f"token id {wrong} is outside the vocabulary of {vocab_size}", param
        )


def to_conversation(messages: Sequence[ChatMessage]) -> list[dict[str, str]]:
    """The messages as chat templates take them: role and one text.

    Raises:
        InvalidRequestError: no messages, an unknown role, or content that is not text.
    """
    if not messages:
        raise InvalidRequestError("must not be empty", "messages")
    return [_to_turn(message, f"messages[{i}]") for i, message in enumerate(messages)]


def _to_turn(message: ChatMessage, place: str) -> dict[str, str]:
    if message.role not in ROLES:
        raise InvalidRequestError(f"must be one of {', '.join(ROLES)}", f"{place}.role")
    if message.tool_calls or message.function_call is not None:
        raise InvalidRequestError("tool calls are not supported", f"{place}.tool_calls")
    turn = {"role": message.role, "content": _to_text(message, place)}
    if message.name is not None:
        turn["name"] = message.name
    return turn


def _to_text(message: ChatMessage, place: str) -> str:
    if message.content is None:
        if message.role == "assistant":
            return ""
        raise InvalidRequestError("this field is required", f"{place}.content")
    if isinstance(message.content, str):
        return message.content
    texts = []
    for i, part in enumerate(message.content):
        if part.type != "text":
            raise InvalidRequestError(
                f"parts of type {part.type[:40]!r} are not supported, only 'text'",
                f"{place}.content[{i}].type",
            )
        if part.text is None:
            raise InvalidRequestError("this field is required", f"{place}.content[{i}].text")
        texts.append(part.text)
    return "".join(texts)
