import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from legato.engine.detokenizer import MAX_PENDING_TOKENS, StopStrings, TextStream
from legato.engine.sampling_params import SamplingParams
from legato.engine.tokenizer import Tokenizer
from legato.tests.tools.make_random_model import TURN_END

TEXT = "The pianist plays nine bars — Ünïcödé €😀, and the room is empty."
PARAMS = SamplingParams()


def feed_all(
    tokenizer: Tokenizer, params: SamplingParams, token_ids: list[int], at_once: int = 1
) -> tuple[list[str], str | None, int]:
    """Deltas, the stop string, and the number of tokens that counted."""
    stream = TextStream(tokenizer, params)
    texts, num_tokens = [], 0
    for start in range(0, len(token_ids), at_once):
        end = start + at_once
        delta = stream.feed(token_ids[start:end], finished=end >= len(token_ids))
        texts.append(delta.text)
        num_tokens += delta.num_tokens
        if delta.stop is not None:
            return texts, delta.stop, num_tokens
    return texts, None, num_tokens


@pytest.mark.parametrize("at_once", [1, 2, 7])
@pytest.mark.parametrize("stop", [(), ("@@",)])
def test_deltas_never_break_a_character(
    tokenizer: Tokenizer, at_once: int, stop: tuple[str, ...]
) -> None:
    token_ids = tokenizer.encode(TEXT)
    texts, _, num_tokens = feed_all(tokenizer, SamplingParams(stop=stop), token_ids, at_once)
    assert "".join(texts) == TEXT
    assert not any("\ufffd" in text for text in texts)
    assert num_tokens == len(token_ids)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 1023), max_size=50), st.booleans())
def test_all_deltas_together_are_the_text_of_all_tokens(
    tokenizer: Tokenizer, token_ids: list[int], skip_special_tokens: bool
) -> None:
    params = SamplingParams(skip_special_tokens=skip_special_tokens)
    texts, _, _ = feed_all(tokenizer, params, token_ids)
    assert "".join(texts) == tokenizer.decode(token_ids, skip_special_tokens)


def test_a_character_that_is_never_completed_comes_out_at_the_end(tokenizer: Tokenizer) -> None:
    token_ids = tokenizer.encode("€")
    assert len(token_ids) > 1
    stream = TextStream(tokenizer, PARAMS)
    assert stream.feed(token_ids[:1]).text == ""
    assert stream.feed([], finished=True).text == "\ufffd"


@pytest.mark.parametrize("last", [[], [TURN_END]])
@pytest.mark.parametrize("stop", [(), ("bars!",)])
def test_what_waits_comes_out_when_nothing_is_shown_of_the_last_tokens(
    tokenizer: Tokenizer, stop: tuple[str, ...], last: list[str]
) -> None:
    stream = TextStream(tokenizer, SamplingParams(stop=stop))
    text = stream.feed(tokenizer.encode("nine bars") + tokenizer.encode("€")[:1]).text
    token_ids = tokenizer.encode("".join(last))
    delta = stream.feed(token_ids, True, stop_token_id=token_ids[-1] if token_ids else None)
    assert text + delta.text == "nine bars\ufffd"
    assert (delta.num_tokens, delta.stop) == (len(last), None)


def test_a_stop_string_is_found_in_what_comes_out_at_the_end(tokenizer: Tokenizer) -> None:
    stream = TextStream(tokenizer, SamplingParams(stop=("bars\ufffd",)))
    token_ids = tokenizer.encode("nine bars") + tokenizer.encode("€")[:1]
    assert stream.feed(token_ids).text == "nine "
    delta = stream.feed(tokenizer.encode(TURN_END), True, tokenizer.encode(TURN_END)[0])
    assert (delta.text, delta.num_tokens, delta.stop) == ("", 0, "bars\ufffd")


def test_endless_broken_bytes_are_not_held_back_for_ever(tokenizer: Tokenizer) -> None:
    continuation_byte = tokenizer.encode("€")[-1]
    stream = TextStream(tokenizer, PARAMS)
    texts = [stream.feed([continuation_byte]).text for _ in range(2 * MAX_PENDING_TOKENS)]
    assert "".join(texts) == "\ufffd" * (2 * MAX_PENDING_TOKENS)


def test_the_text_ends_before_the_stop_string(tokenizer: Tokenizer) -> None:
    token_ids = tokenizer.encode(TEXT)
    texts, stop, num_tokens = feed_all(
        tokenizer, SamplingParams(stop=("nine b", "room")), token_ids
    )
    assert "".join(texts) == "The pianist plays "
    assert stop == "nine b"
    assert "nine b" in tokenizer.decode(token_ids[:num_tokens])
    assert "nine b" not in tokenizer.decode(token_ids[: num_tokens - 1])


def test_the_stop_string_stays_in_the_text_where_asked_for(tokenizer: Tokenizer) -> None:
    params = SamplingParams(stop=("nine b",), include_stop_str_in_output=True)
    texts, _, _ = feed_all(tokenizer, params, tokenizer.encode(TEXT))
    assert "".join(texts) == "The pianist plays nine b"


def test_several_tokens_at_once_count_up_to_the_stop_alone(tokenizer: Tokenizer) -> None:
    token_ids = tokenizer.encode(TEXT)
    params = SamplingParams(stop=("nine",))
    one_by_one = feed_all(tokenizer, params, token_ids)
    texts, stop, num_tokens = feed_all(tokenizer, params, token_ids, at_once=len(token_ids))
    assert ("".join(texts), stop, num_tokens) == ("".join(one_by_one[0]), *one_by_one[1:])


def test_nothing_comes_after_a_stop_string(tokenizer: Tokenizer) -> None:
    stream = TextStream(tokenizer, SamplingParams(stop=("nine",)))
    stream.feed(tokenizer.encode("nine"))
    delta = stream.feed(tokenizer.encode(" more"), finished=True)
    assert (delta.text, delta.num_tokens, delta.stop) == ("", 0, "nine")


def test_a_stop_string_before_min_tokens_is_text(tokenizer: Tokenizer) -> None:
    token_ids = tokenizer.encode("nine bars, nine bars")
    params = SamplingParams(stop=("nine",), min_tokens=len(tokenizer.encode("nine")) + 1)
    texts, stop, _ = feed_all(tokenizer, params, token_ids)
    assert ("".join(texts), stop) == ("nine bars, ", "nine")


def test_a_beginning_of_a_stop_string_is_held_back_and_released_at_the_end(
    tokenizer: Tokenizer,
) -> None:
    stream = TextStream(tokenizer, SamplingParams(stop=("bars!",)))
    assert stream.feed(tokenizer.encode("nine bars")).text == "nine "
    assert stream.feed([], finished=True).text == "bars"


def test_the_token_that_stopped_is_not_shown_but_counts(tokenizer: Tokenizer) -> None:
    params = SamplingParams(skip_special_tokens=False)
    token_ids = tokenizer.encode(f"nine{TURN_END}")
    delta = TextStream(tokenizer, params).feed(token_ids, True, stop_token_id=token_ids[-1])
    assert (delta.text, delta.num_tokens) == ("nine", len(token_ids))


@given(
    st.text(alphabet="ab", max_size=30),
    st.lists(st.text(alphabet="ab", min_size=1, max_size=4), min_size=1, max_size=3),
    st.data(),
)
def test_stop_strings_are_found_however_the_text_is_cut(
    text: str, stops: list[str], data: st.DataObject
) -> None:
    matcher, shown = StopStrings(stops, include_stop=False), ""
    left = text
    while left and matcher.found is None:
        size = data.draw(st.integers(1, 3))
        shown += matcher.push(left[:size])
        left = left[size:]
    shown += matcher.rest()
    found = [stop for stop in stops if stop in text]
    assert (matcher.found is not None) == bool(found)
    if matcher.found is None:
        assert shown == text
    else:
        assert text.startswith(shown + matcher.found)
        assert not any(stop in shown for stop in stops)
