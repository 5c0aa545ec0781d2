"""Checks of forms off the event loop."""

import pytest

from legato.deployments.openai.constraint import Constraint
from legato.deployments.openai.grammar_service import GrammarService
from legato.engine.errors import InvalidRequestError, OverloadedError
from legato.engine.structured_output import StructuredOutput, StructuredOutputKind
from legato.engine.tokenizer import Tokenizer
from legato.tests.deployments.openai.harness import VOCAB_SIZE, tiny_tokenizer


def _service(timeout_s: float = 30.0) -> GrammarService:
    return GrammarService(Tokenizer(tiny_tokenizer()), VOCAB_SIZE, timeout_s=timeout_s)


def _regex(spec: str) -> Constraint:
    return Constraint(StructuredOutput(StructuredOutputKind.REGEX, spec), "the_field")


async def test_a_form_that_can_be_kept_passes_and_another_is_named() -> None:
    service = _service()
    await service.check(_regex("a+"))
    with pytest.raises(InvalidRequestError) as refusal:
        await service.check(_regex("a("))
    assert refusal.value.param == "the_field"


async def test_a_check_that_takes_too_long_is_given_up() -> None:
    with pytest.raises(OverloadedError, match="the_field"):
        await _service(timeout_s=0.0).check(_regex("a+"))
