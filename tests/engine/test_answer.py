from legato.engine.answer import Answer
from legato.engine.batch import FinishReason, SequenceOutput, SequenceRequest, TokenLogprobs
from legato.engine.request_output import Logprob
from legato.engine.sampling_params import SamplingParams
from legato.engine.tokenizer import Tokenizer


def output(
    *token_ids: int,
    finish_reason: FinishReason | None = None,
    stop_token_id: int | None = None,
    logprobs: tuple[TokenLogprobs, ...] = (),
) -> SequenceOutput:
    return SequenceOutput(0, 0, token_ids, logprobs, finish_reason, stop_token_id, 4, None)


def answer(params: SamplingParams, tokenizer: Tokenizer | None = None) -> Answer:
    return Answer(SequenceRequest((1,), params, 0), tokenizer)


def test_without_a_tokenizer_there_are_ids_and_no_text() -> None:
    growing = answer(SamplingParams())
    growing.take(output(5))
    assert not growing.is_finished
    growing.take(output(6, finish_reason=FinishReason.LENGTH))
    whole = growing.output(2)
    assert (whole.index, whole.text, whole.token_ids) == (2, "", [5, 6])
    assert (whole.finish_reason, whole.stop_reason, whole.logprobs) == ("length", None, None)
    assert growing.num_cached_tokens == 4


def test_a_stop_string_finishes_an_answer_that_the_engine_would_continue(
    tokenizer: Tokenizer,
) -> None:
    growing = answer(SamplingParams(stop=("bars",)), tokenizer)
    growing.take(output(*tokenizer.encode("nine bars and more")))
    assert growing.is_finished
    whole = growing.output(0)
    assert (whole.text, whole.finish_reason, whole.stop_reason) == ("nine ", "stop", "bars")
    assert tokenizer.decode(whole.token_ids).startswith("nine bars")


def test_a_stop_id_is_named_and_an_eos_is_not() -> None:
    for params, reason in ((SamplingParams(stop_token_ids=(7,)), 7), (SamplingParams(), None)):
        growing = answer(params)
        growing.take(output(7, finish_reason=FinishReason.STOP, stop_token_id=7))
        assert growing.output(0).stop_reason == reason


def test_logprobs_hold_the_chosen_token_and_the_likeliest() -> None:
    growing = answer(SamplingParams(logprobs=2))
    logprobs = TokenLogprobs(9, -3.0, 5, ((4, -0.5), (6, -1.0)))
    growing.take(output(9, finish_reason=FinishReason.LENGTH, logprobs=(logprobs,)))
    assert growing.output(0).logprobs == [
        {9: Logprob(-3.0, 5, None), 4: Logprob(-0.5, 1, None), 6: Logprob(-1.0, 2, None)}
    ]
