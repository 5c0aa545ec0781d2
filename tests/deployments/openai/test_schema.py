"""What the documentation says of fields is what the bodies have."""

import re

import pytest

from legato.deployments.openai.embedding_schema import EmbeddingRequest
from legato.deployments.openai.schema import ChatRequest, CompletionRequest, GenerationFields
from legato.tests.source_tree import REPOSITORY

TEXT = (REPOSITORY / "docs" / "parameters.md").read_text()


def section(title: str) -> set[str]:
    text = TEXT.split(f"## {title}\n")[1].split("\n## ")[0]
    return set(re.findall(r"`(\w+)", text))


@pytest.mark.parametrize("kind", [ChatRequest, CompletionRequest])
def test_every_field_of_a_body_is_documented(kind: type[GenerationFields]) -> None:
    told = section("Honoured") | section("Ignored")
    assert set(kind.__struct_encode_fields__) <= told


def test_what_is_said_to_be_refused_is_no_field_of_a_body() -> None:
    fields = {*ChatRequest.__struct_encode_fields__, *CompletionRequest.__struct_encode_fields__}
    assert not section("Refused") & fields


def test_every_field_of_a_request_for_embeddings_is_documented() -> None:
    assert set(EmbeddingRequest.__struct_encode_fields__) - {"model"} <= section("Embeddings")
