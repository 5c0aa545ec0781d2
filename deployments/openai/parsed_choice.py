"""One choice of an answer whose text is read: reasoning, calls, and what is left as content.

    GenerationEvent ──> Choice ──ChoiceDelta with text──> MessageParser
    ChoiceDelta with parts <─────────────────────────────────┘

Tokens do not wait for parts: a call's arguments may be long, and a thought that is not to be shown
has none. The pieces of a stream joined are the answer that is not streamed.
"""

from dataclasses import replace

from legato.cluster.generation import GenerationEvent
from legato.deployments.openai.choice import Choice, ChoiceDelta
from legato.deployments.openai.message.message_parser import MessageParser, MessageReading
from legato.deployments.openai.message.parts import join_parts
from legato.engine.batch import FinishReason
from legato.engine.detokenizer import StopStrings
from legato.engine.sampling_params import SamplingParams
from legato.engine.tokenizer import Tokenizer


class ParsedChoice:
    """A Choice with a parser behind it. Owned by the task that iterates over its events.

    Stop strings are looked for in the answer, where it is known to be apart from the thought. With
    `min_tokens` they are looked for in all of the text, because there tokens are counted.
    """

    def __init__(
        self, tokenizer: Tokenizer, params: SamplingParams, reading: MessageReading
    ) -> None:
        self.num_reasoning_tokens = 0
        stops = None
        if reading.think_tags is not None and params.stop and not params.min_tokens:
            stops = StopStrings(params.stop, params.include_stop_str_in_output)
            params = replace(params, stop=())
        self._choice = Choice(tokenizer, params)
        self._parser = MessageParser(reading, stops)
        self._tells_calls = reading.calls is not None and not reading.calls.ends_as_stop

    @property
    def num_tokens(self) -> int:
        return self._choice.num_tokens

    def feed(self, event: GenerationEvent) -> ChoiceDelta:
        """Takes a step's tokens and gives what they release."""
        delta = self._choice.feed(event)
        parts = self._parser.feed(delta.text) if delta.text else []
        finish_reason, stop_reason = delta.finish_reason, delta.stop_reason
        if self._parser.stop is not None:
            finish_reason, stop_reason = FinishReason.STOP, self._parser.stop
        if finish_reason is not None:
            parts += self._parser.finish()
        if self._parser.is_thinking:
            self.num_reasoning_tokens = self.num_tokens
        return ChoiceDelta(
            "",
            delta.token_ids,
            delta.logprobs,
            finish_reason,
            stop_reason,
            tuple(join_parts(parts)),
            finish_reason is FinishReason.STOP and self._tells_calls and self._parser.has_called,
        )
