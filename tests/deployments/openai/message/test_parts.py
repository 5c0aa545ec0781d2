"""Parts of a message joined."""

from legato.deployments.openai.message.parts import (
    CallArguments,
    CallOpened,
    ReasoningPart,
    TextPart,
    join_parts,
)


def test_neighbours_of_one_kind_become_one() -> None:
    opened = [CallOpened(0, "x", "f"), CallOpened(1, "y", "g")]
    assert join_parts(
        [
            ReasoningPart("a"),
            ReasoningPart("b"),
            TextPart("c"),
            TextPart("d"),
            opened[0],
            CallArguments(0, "{"),
            CallArguments(0, "}"),
            opened[1],
            CallArguments(1, "{}"),
            TextPart("e"),
        ]
    ) == [
        ReasoningPart("ab"),
        TextPart("cd"),
        opened[0],
        CallArguments(0, "{}"),
        opened[1],
        CallArguments(1, "{}"),
        TextPart("e"),
    ]
