import msgspec
import pytest

from legato.engine.errors import InvalidRequestError
from legato.engine.sampling_params import SamplingParams
from legato.engine.structured_output import StructuredOutput, StructuredOutputKind


@pytest.mark.parametrize("kind", StructuredOutputKind)
def test_it_crosses_process_boundaries_with_the_sampling_parameters(
    kind: StructuredOutputKind,
) -> None:
    params = SamplingParams(structured_output=StructuredOutput(kind, "[a-z]é"))
    decoded = msgspec.msgpack.decode(msgspec.msgpack.encode(params), type=SamplingParams)
    assert decoded == params
    assert decoded.structured_output is not None
    assert decoded.structured_output.kind is kind


def test_a_kind_may_be_given_by_its_name() -> None:
    named = StructuredOutput("regex", "a")  # type: ignore[arg-type]
    assert named == StructuredOutput(StructuredOutputKind.REGEX, "a")
    assert named.kind is StructuredOutputKind.REGEX


def test_an_unknown_kind_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(InvalidRequestError, match="json_schema, json_object") as caught:
        StructuredOutput("yaml", "")  # type: ignore[arg-type]
    assert caught.value.param == "structured_output"
