"""Markers in a growing text."""

import pytest

from legato.deployments.openai.message.markers import TextRun, split_at_marker


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a<b>c", ("a", "<b>", "c")),
        ("a<b", ("a", None, "<b")),
        ("a<<b", ("a<", None, "<b")),
        ("plain", ("plain", None, "")),
        ("<x<b>", ("<x", "<b>", "")),
        ("", ("", None, "")),
        ("a[[b]]<b>", ("a", "[[b]]", "<b>")),
    ],
)
def test_text_is_shown_up_to_what_is_or_may_become_a_marker(
    text: str, expected: tuple[str, str | None, str]
) -> None:
    assert split_at_marker(text, ("<b>", "[[b]]")) == expected


def test_of_two_markers_at_one_place_the_longer_counts() -> None:
    assert split_at_marker("[[a]]", ("[", "[[a]]")) == ("", "[[a]]", "")


def test_without_markers_everything_is_shown() -> None:
    assert split_at_marker("a<b>", ()) == ("a<b>", None, "")


def test_white_space_waits_for_what_follows_it() -> None:
    run = TextRun()
    assert [run.push(" a "), run.push("\n"), run.push("b")] == [" a", "", " \nb"]
    assert run.push(" ") == ""
    assert (run.rest(), run.rest()) == (" ", "")


def test_white_space_at_the_start_is_dropped_where_it_means_nothing() -> None:
    run = TextRun(trims_start=True)
    assert [run.push(" \n"), run.push(" a"), run.push(" b")] == ["", "a", " b"]
