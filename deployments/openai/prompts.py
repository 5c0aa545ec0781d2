"""The shapes in which clients send prompts, brought to one."""

from collections.abc import Sequence

from legato.deployments.openai.schema import Prompt
from legato.engine.errors import InvalidRequestError


def split_prompts(prompt: Prompt, param: str = "prompt") -> list[str | list[int]]:
    """One entry for each prompt: a text, or token ids.

    Raises:
        InvalidRequestError: there is no prompt, or texts and token ids are mixed.
    """
    if isinstance(prompt, str):
        return [prompt]
    if not prompt:
        raise InvalidRequestError("must not be empty", param)
    kind = type(prompt[0])
    if any(type(part) is not kind for part in prompt):
        raise InvalidRequestError("must not mix texts and token ids", param)
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
