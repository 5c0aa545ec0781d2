"""The cluster behind the HTTP surface, with a trace of each sequence that passes.

It has no part in what is generated: requests and events go through as they are.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from opentelemetry.trace import Tracer

from legato.cluster.generation import GenerationEvent, GenerationRequest
from legato.deployments.openai.backend import Backend
from legato.deployments.sequence_spans import Decode, SequenceSpans


class TracedBackend:
    """A backend whose sequences are traced, below the span that is current when they begin."""

    def __init__(
        self, backend: Backend, tracer: Tracer, model: str, decode: Decode | None = None
    ) -> None:
        """With `decode`, the texts of prompts and answers are sent too."""
        self._backend = backend
        self._tracer = tracer
        self._model = model
        self._decode = decode

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        spans = SequenceSpans(self._tracer, self._model, request)
        failure: BaseException | None = None
        try:
            async with aclosing(self._backend.generate(request)) as events:
                async for event in events:
                    spans.take(event)
                    yield event
        except BaseException as error:
            failure = error
            raise
        finally:
            self._end(spans, failure)

    def _end(self, spans: SequenceSpans, failure: BaseException | None) -> None:
        now_ns = time.time_ns()
        if self._decode is None:
            spans.end(now_ns, failure)
        else:  # a long prompt takes milliseconds
            loop = asyncio.get_running_loop()
            loop.run_in_executor(None, spans.end, now_ns, failure, self._decode)

    def check_admission(self, num_sequences: int, num_tokens: int) -> None:
        self._backend.check_admission(num_sequences, num_tokens)

    def is_ready(self) -> bool:
        return self._backend.is_ready()

    def is_alive(self) -> bool:
        return self._backend.is_alive()

    def load(self) -> Mapping[str, float]:
        return self._backend.load()
