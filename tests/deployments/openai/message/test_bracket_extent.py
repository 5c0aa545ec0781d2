"""Where bracketed values end."""

import pytest

from legato.deployments.openai.message.bracket_extent import BracketExtent


@pytest.mark.parametrize(
    "text", ['{"a": [1, {}]}', '{"}": "\\"}"}', '{"\\\\": 1}', "[[], {}]", "{}", '{"é": "🎉}"}']
)
def test_a_value_ends_with_its_last_bracket_however_it_arrives(text: str) -> None:
    extent = BracketExtent()
    for end in range(1, len(text)):
        assert not extent.advance(text[:end], 0), text[:end]
    assert extent.advance(text + " more }", 0)
    assert extent.position == len(text)


def test_an_inner_value_ends_before_the_outer_one() -> None:
    text = '{"a": {"b": [1]}, "c": 2} rest'
    extent = BracketExtent(text.index('{"b'), depth=1)
    assert extent.advance(text, 1)
    assert text[: extent.position].endswith("[1]}")
    assert extent.advance(text, 0)
    assert text[extent.position :] == " rest"


def test_quotes_are_those_of_the_language() -> None:
    text = "[f(a='it\\'s ]', b=\"]'\")]"
    extent = BracketExtent(quotes="\"'")
    assert extent.advance(text + "]", 0)
    assert extent.position == len(text)
