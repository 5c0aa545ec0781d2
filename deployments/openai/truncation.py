"""Prompts that are cut to a length, where a client would rather lose a part than be refused.

truncate_prompt_tokens   k: to k tokens    -1: to what leaves room for the answer
truncation_side          left (default): the beginning goes    right: the end goes
"""

from legato.deployments.openai.embedding_schema import EmbeddingFields
from legato.deployments.openai.schema import GenerationFields
from legato.engine.errors import InvalidRequestError


def truncated(
    token_ids: tuple[int, ...],
    fields: GenerationFields | EmbeddingFields,
    max_tokens: int | None,
    context: int,
) -> tuple[int, ...]:
    """The prompt as the request has it cut.

    Args:
        max_tokens: of the answer; None: as many as there is room for, one at least
        context: tokens of prompt and answer that the model takes

    Raises:
        InvalidRequestError: a field is out of range.
    """
    length = fields.truncate_prompt_tokens
    if length is None:
        if fields.truncation_side is not None:
            raise InvalidRequestError("needs truncate_prompt_tokens", "truncation_side")
        return token_ids
    if length < -1 or length == 0:
        raise InvalidRequestError("must be at least 1, or -1", "truncate_prompt_tokens")
    if length >= context:
        raise InvalidRequestError(
            f"must be less than the model's context of {context}", "truncate_prompt_tokens"
        )
    if length == -1:
        length = max(context - (max_tokens or 1), 1)
    return token_ids[:length] if fields.truncation_side == "right" else token_ids[-length:]
