"""Text, token ids and logprobs leave a choice together."""

import pytest

from legato.cluster.generation import GenerationEvent
from legato.deployments.openai.choice import Choice, ChoiceDelta, join_deltas
from legato.engine.batch import FinishReason
from legato.engine.sampling_params import SamplingParams
from legato.engine.tokenizer import Tokenizer
from legato.tests.deployments.openai.harness import (
    EOS_ID,
    decode,
    encode,
    logprobs_of,
    tiny_tokenizer,
)


def _choice(params: SamplingParams) -> Choice:
    return Choice(Tokenizer(tiny_tokenizer()), params)


def _event(token_id: int, finish: FinishReason | None = None) -> GenerationEvent:
    stop_token_id = token_id if finish is FinishReason.STOP else None
    return GenerationEvent((token_id,), (logprobs_of(token_id, 1),), finish, stop_token_id)


def _feed(choice: Choice, *token_ids: int) -> list[ChoiceDelta]:
    return [choice.feed(_event(token_id)) for token_id in token_ids]


def test_token_ids_wait_for_the_character_that_they_are_a_part_of() -> None:
    deltas = _feed(_choice(SamplingParams()), *encode("€"))
    assert [delta.text for delta in deltas] == ["", "", "€"]
    assert [len(delta.token_ids) for delta in deltas] == [0, 0, 3]
    assert [entry.token_id for entry in deltas[-1].logprobs] == list(encode("€"))


@pytest.mark.parametrize("stop", [(), ("The end",)])
def test_tokens_that_have_no_text_wait_for_nothing(stop: tuple[str, ...]) -> None:
    choice = _choice(SamplingParams(ignore_eos=True, stop=stop))
    for token_id in (EOS_ID, *encode("<|start|>"), EOS_ID):
        delta = choice.feed(_event(token_id))
        assert (delta.text, delta.token_ids, len(delta.logprobs)) == ("", (token_id,), 1)
    assert choice.num_tokens == 3


def test_tokens_without_text_keep_their_place_behind_those_that_wait() -> None:
    first, *others = encode("€")
    deltas = _feed(_choice(SamplingParams()), first, EOS_ID, *others)
    assert [delta.text for delta in deltas] == ["", "", "", "€"]
    assert [delta.token_ids for delta in deltas] == [(), (), (), (first, EOS_ID, *others)]


def test_text_that_may_become_a_stop_string_is_held_back_with_its_tokens() -> None:
    choice = _choice(SamplingParams(stop=("brown dog",)))
    deltas = _feed(choice, *encode("The quick brown fox jumps"))
    joined = join_deltas(deltas)
    assert "The quick brown fox jumps".startswith(joined.text)
    assert decode(joined.token_ids).startswith(joined.text)
    last = choice.feed(_event(EOS_ID, FinishReason.STOP))
    assert joined.text + last.text == "The quick brown fox jumps"
    assert joined.token_ids + last.token_ids == (*encode("The quick brown fox jumps"), EOS_ID)


@pytest.mark.parametrize("include", [False, True])
def test_a_stop_string_ends_the_choice_and_is_its_stop_reason(include: bool) -> None:
    params = SamplingParams(stop=("wn f",), include_stop_str_in_output=include)
    deltas = _feed(_choice(params), *encode("The quick brown fox"))
    joined = join_deltas(deltas)
    assert joined.text == ("The quick brown f" if include else "The quick bro")
    assert joined.finish_reason is FinishReason.STOP
    assert joined.stop_reason == "wn f"
    assert joined.token_ids == encode("The quick brown fox")


def test_a_stop_token_has_no_text_unless_the_client_wants_it() -> None:
    [fox] = encode(" fox")
    for include, text in ((False, "The"), (True, "The fox")):
        params = SamplingParams(stop_token_ids=(fox,), include_stop_str_in_output=include)
        choice = _choice(params)
        deltas = [*_feed(choice, *encode("The")), choice.feed(_event(fox, FinishReason.STOP))]
        joined = join_deltas(deltas)
        assert joined.text == text
        assert joined.stop_reason == fox
        assert joined.token_ids == (*encode("The"), fox)


def test_an_end_by_length_in_the_middle_of_a_character_releases_everything() -> None:
    choice = _choice(SamplingParams())
    half = encode("€")[0]
    delta = choice.feed(GenerationEvent((half,), (), FinishReason.LENGTH))
    assert delta.token_ids == (half,)
    assert delta.finish_reason is FinishReason.LENGTH
