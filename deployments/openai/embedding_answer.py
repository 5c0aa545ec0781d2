"""The response to a request for vectors: runs its plans, and finishes what comes of them."""

import base64
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from legato.deployments.openai.answer_format import encode_json
from legato.deployments.openai.attend import attend
from legato.deployments.openai.choice import ChoiceDelta
from legato.deployments.openai.embedding_schema import EmbeddingUsage
from legato.deployments.openai.generation import Generation, GenerationPlan
from legato.deployments.openai.service import ApiService
from legato.engine.errors import EngineError

Vector = NDArray[np.float32]  # [hidden]
ToBody = Callable[[list[Vector], EmbeddingUsage], object]


class EmbeddedAnswer:
    """An ASGI application for one request.

    Args:
        to_body: what to answer with, of all vectors in the order of the inputs.
    """

    def __init__(
        self, service: ApiService, plans: Sequence[GenerationPlan], to_body: ToBody
    ) -> None:
        self._service = service
        self._plans = plans
        self._to_body = to_body
        self._vectors: dict[int, Vector] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if await attend(self._run(), receive, self._service.limits.keep_alive_s):
            vectors = [self._vectors[index] for index in range(len(self._vectors))]
            body = encode_json(self._to_body(vectors, self._usage()))
            await Response(body, media_type="application/json")(scope, receive, send)

    async def _run(self) -> None:
        for plan in self._plans:
            start = len(self._vectors)
            await Generation(self._service, plan).run(partial(self._take, start))

    async def _take(self, start: int, index: int, delta: ChoiceDelta) -> None:
        if not delta.embedding:
            raise EngineError("the worker gave no embedding")
        self._vectors[start + index] = np.frombuffer(delta.embedding, "<f4")

    def _usage(self) -> EmbeddingUsage:
        prompts = [prompt for plan in self._plans for prompt in plan.prompts]
        num_tokens = sum(len(prompt.token_ids) for prompt in prompts)
        return EmbeddingUsage(num_tokens, num_tokens)


def normalized(vector: Vector) -> Vector:
    """The same direction with length 1; nothing has no direction."""
    length = float(np.linalg.norm(vector))
    return vector if length == 0 else vector / np.float32(length)


def similarity(one: Vector, other: Vector) -> float:
    """The cosine of the angle between them, -1 to 1."""
    return float(normalized(one) @ normalized(other))


def as_base64(vector: Vector) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
