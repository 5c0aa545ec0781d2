"""Traces of requests, as a collector receives them."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from legato.deployments.openai.app import create_app
from legato.deployments.openai.forwarded import ForwardedLayer, TrustedProxies
from legato.deployments.tracing import Tracing
from legato.engine.errors import ConfigError, WorkerLostError
from legato.tests.deployments.openai.harness import (
    MODEL,
    REPLY,
    ScriptedBackend,
    decode,
    http_client,
    make_service,
)
from legato.tests.deployments.otlp_receiver import OtlpReceiver, running_receiver

TIMELINE = {
    "queue": 0.25,
    "prefill": 0.5,
    "reserve": 0.125,
    "transfer": 1.0,
    "transfer_bytes": 4096.0,
}
MESSAGES = [{"role": "user", "content": "a secret question"}]
TRACE_ID, CLIENT_SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with running_receiver() as running:
        yield running


@asynccontextmanager
async def traced(
    endpoint: str,
    backend: ScriptedBackend,
    has_texts: bool = False,
    proxies: Sequence[str] = (),
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a traced application; afterwards, all spans have been sent."""
    tracing = Tracing(endpoint, has_texts)
    service = make_service(backend)
    app = create_app(replace(service, backend=tracing.backend(backend, MODEL, decode)))
    layer: Any = ForwardedLayer(tracing.layer(app), TrustedProxies(proxies))
    async with http_client(layer) as client:
        yield client
    await asyncio.to_thread(tracing.stop)


def chat(**fields: Any) -> dict[str, Any]:
    return {"messages": MESSAGES, "max_tokens": 8, **fields}


async def test_a_requests_spans_are_one_tree_below_the_clients(receiver: OtlpReceiver) -> None:
    parent = {"traceparent": f"00-{TRACE_ID}-{CLIENT_SPAN_ID}-01"}
    async with traced(receiver.endpoint, ScriptedBackend(timeline=TIMELINE)) as client:
        answer = await client.post("/v1/chat/completions", json=chat(), headers=parent)
    assert {span.trace_id for span in receiver.spans} == {TRACE_ID}

    request = receiver.one("POST /v1/chat/completions")
    assert request.parent_id == CLIENT_SPAN_ID
    assert request.kind == Span.SPAN_KIND_SERVER
    assert request.attributes["http.response.status_code"] == 200
    assert request.resource["service.name"] == "legato"
    assert answer.headers["traceresponse"] == f"00-{TRACE_ID}-{request.span_id}-01"

    (sequence,) = receiver.below(request)
    assert sequence.name == f"chat {MODEL}"
    stages = {span.name: span for span in receiver.below(sequence)}
    assert set(stages) == {"queue", "prefill", "transfer", "decode"}
    assert len(receiver.spans) == 6
    assert stages["queue"].begin_ns == sequence.begin_ns
    assert stages["prefill"].begin_ns == stages["queue"].end_ns
    assert stages["prefill"].end_ns - stages["prefill"].begin_ns == 500_000_000
    assert stages["transfer"].begin_ns == stages["prefill"].begin_ns + 125_000_000
    assert stages["transfer"].attributes == {"legato.transfer.bytes": 4096}
    assert stages["decode"].end_ns == sequence.end_ns


async def test_a_user_whom_a_trusted_proxy_names_is_in_the_trace(receiver: OtlpReceiver) -> None:
    claims = {"x-forwarded-user": "alice", "x-forwarded-for": "203.0.113.9"}
    for proxies in (["127.0.0.1"], ["192.0.2.1"]):
        async with traced(receiver.endpoint, ScriptedBackend(), proxies=proxies) as client:
            await client.post("/v1/chat/completions", json=chat(), headers=claims)
    requests = [span for span in receiver.spans if span.kind == Span.SPAN_KIND_SERVER]
    told = [
        [span.attributes.get(name) for name in ("user.id", "client.address")] for span in requests
    ]
    assert told == [["alice", "203.0.113.9"], [None, "127.0.0.1"]]


async def test_a_sequence_is_described_by_the_conventions_without_its_texts(
    receiver: OtlpReceiver,
) -> None:
    async with traced(receiver.endpoint, ScriptedBackend()) as client:
        answer = await client.post("/v1/chat/completions", json=chat(temperature=0.5))
    usage = answer.json()["usage"]
    attributes = dict(receiver.one(f"chat {MODEL}").attributes)
    assert attributes.pop("gen_ai.response.time_to_first_chunk") >= 0
    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "legato",
        "gen_ai.request.model": MODEL,
        "gen_ai.response.model": MODEL,
        "gen_ai.request.max_tokens": 8,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 1.0,
        "gen_ai.usage.input_tokens": usage["prompt_tokens"],
        "gen_ai.usage.output_tokens": 8,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.response.finish_reasons": ["length"],
    }
    assert "secret" not in repr(receiver.spans)


async def test_texts_are_sent_if_that_was_asked_for(receiver: OtlpReceiver) -> None:
    async with traced(receiver.endpoint, ScriptedBackend(), has_texts=True) as client:
        await client.post("/v1/chat/completions", json=chat(max_tokens=200))
    attributes = receiver.one(f"chat {MODEL}").attributes
    (asked,) = json.loads(attributes["gen_ai.input.messages"])
    (answered,) = json.loads(attributes["gen_ai.output.messages"])
    assert "a secret question" in asked["parts"][0]["content"]
    assert answered["parts"][0]["content"].startswith(REPLY)
    assert (answered["role"], answered["finish_reason"]) == ("assistant", "stop")


async def test_each_sequence_of_a_stream_has_its_own_span(receiver: OtlpReceiver) -> None:
    body = {"prompt": ["a", "b"], "n": 2, "max_tokens": 3, "stream": True}
    async with traced(receiver.endpoint, ScriptedBackend()) as client:
        answer = await client.post("/v1/completions", json=body)
    assert answer.text.endswith("data: [DONE]\n\n")
    sequences = receiver.below(receiver.one("POST /v1/completions"))
    assert [one.name for one in sequences] == [f"text_completion {MODEL}"] * 4


async def test_a_failure_is_seen_in_both_spans(receiver: OtlpReceiver) -> None:
    backend = ScriptedBackend(failure=WorkerLostError("it went away"), tokens_before_failure=2)
    async with traced(receiver.endpoint, backend) as client:
        answer = await client.post("/v1/chat/completions", json=chat())
    assert answer.status_code == 500
    sequence = receiver.one(f"chat {MODEL}")
    assert receiver.one("POST /v1/chat/completions").is_error and sequence.is_error
    assert sequence.attributes["error.type"] == "WorkerLostError"
    assert sequence.attributes["gen_ai.usage.output_tokens"] == 2


async def test_what_generates_nothing_is_not_traced(receiver: OtlpReceiver) -> None:
    async with traced(receiver.endpoint, ScriptedBackend()) as client:
        for path in ("/ready", "/metrics", "/v1/models"):
            assert (await client.get(path)).status_code == 200
    assert receiver.spans == []


async def test_a_collector_that_is_away_disturbs_nobody() -> None:
    with running_receiver() as receiver:
        endpoint = receiver.endpoint
    started = time.monotonic()
    async with traced(endpoint, ScriptedBackend()) as client:
        answer = await client.post("/v1/chat/completions", json=chat())
    assert answer.status_code == 200
    assert time.monotonic() - started < 10


def test_an_endpoint_that_is_no_url_is_one_clear_line() -> None:
    with pytest.raises(ConfigError, match=r"--otlp-traces-endpoint.*collector:4318"):
        Tracing("collector:4318", has_texts=False)
