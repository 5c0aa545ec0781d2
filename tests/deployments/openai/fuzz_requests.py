"""Requests that nobody should send, for every endpoint, and what an answer to them must be.

    msgspec struct --shape--> fields --values--> JSON --damage--> chunks + headers = FuzzRequest

Each field is drawn by its name where a telling value is known, by its type, or of a wrong type. It
knows no server: a test and a benchmark send what is drawn here.
"""

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx
import msgspec
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from legato.deployments.openai.embedding_schema import (
    EmbeddingRequest,
    RerankRequest,
    ScoreRequest,
)
from legato.deployments.openai.responses.request import InputFields, ResponsesRequest
from legato.deployments.openai.schema import (
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    TokenizeRequest,
)
from legato.tests.deployments.openai.fuzz_values import (
    ANY_JSON,
    HOSTILE,
    TELLING_VALUES,
    expand_nests,
    mostly,
    values_of_type,
)

BODIES: Mapping[str, type[msgspec.Struct]] = {
    "/v1/chat/completions": ChatRequest,
    "/v1/completions": CompletionRequest,
    "/v1/responses": ResponsesRequest,
    "/v1/responses/input_tokens": InputFields,
    "/v1/embeddings": EmbeddingRequest,
    "/score": ScoreRequest,
    "/v1/score": ScoreRequest,
    "/rerank": RerankRequest,
    "/v1/rerank": RerankRequest,
    "/v2/rerank": RerankRequest,
    "/tokenize": TokenizeRequest,
    "/detokenize": DetokenizeRequest,
}
# What makes a body a good one, so that one odd field is met by more than the first check.
_GOOD_FIELDS: Mapping[type[msgspec.Struct], Mapping[str, Any]] = {
    ChatRequest: {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4},
    CompletionRequest: {"prompt": "a", "max_tokens": 4},
    ResponsesRequest: {"input": "hi", "max_output_tokens": 4},
    InputFields: {"input": "hi"},
    EmbeddingRequest: {"input": "a"},
    ScoreRequest: {"text_1": "a", "text_2": ["b", "c"]},
    RerankRequest: {"query": "a", "documents": ["b", "c"]},
    TokenizeRequest: {"prompt": "a"},
    DetokenizeRequest: {"tokens": [5]},
}
_FOREIGN_FIELDS = (
    *("kv_transfer_params", "request_id", "audio", "functions", "function_call", "modalities"),
    *("best_of", "suffix", "chat_template", "logits_processors", "user", "no_such_field", ""),
)
_READ_PATHS = (
    *("/", "/activity", "/v1", "/v1/models", "/v1/models/", "/health", "/ping", "/live", "/ready"),
    *("/load", "/version", "/metrics", "/v1/responses/resp_x", "/v1/responses/resp_x/input_items"),
    *("/v1/responses/%ED%A0%80", "/v1/responses/..%2F..", "/v1/models/%00", "/v1/models/a/b"),
    *("/v1/chat/completions/", "/v1/files", "/v1/responses/resp_x/cancel"),
)
_QUERIES = (
    *("", "?", "?stream=true", "?stream=true&starting_after=-", "?starting_after=" + "9" * 30),
    *("?limit=0", "?limit=-1", "?limit=1e9", "?limit=" + "9" * 5000, "?order=sideways"),
    *("?after=%FF%FE", "?limit=%D9%A3", "?" + "a=b&" * 2000, "?include=&include[]=x"),
    *("?stream=true&starting_after=%C2%B2", "?limit=%C2%B2"),
)
_HEADERS: Mapping[bytes, tuple[bytes, ...]] = {
    b"content-type": (b"", b"text/plain", b"application/json; charset=utf-16", b"multipart/\xff"),
    b"content-encoding": (b"gzip", b"br", b"identity", b"none of these"),
    b"accept": (b"", b"text/event-stream", b"image/png;q=oops", b"*/*," * 500),
    b"authorization": (b"", b"Bearer", b"Bearer " + b"k" * 4000, b"Basic \xff\xfe", b"Digest a=b"),
    b"x-request-id": (b"", b"r" * 5000, b"caf\xc3\xa9 \xff", b"../../etc/passwd", b"a, b"),
    b"traceparent": (b"", b"00-0-0-0", b"zz-" + b"f" * 32 + b"-" + b"f" * 16 + b"-01", b"\xff"),
    b"tracestate": (b"=,=,", b"a=" + b"b" * 4000),
    b"x-forwarded-for": (b"not an address", b"1.1.1.1," * 200),
    b"host": (b"", b"evil.example:99999", b"[::1"),
    b"origin": (b"null", b"http://evil.example"),
    b"x-session-id": (b"\xff" * 200,),
    b"expect": (b"200-maybe",),
    b"range": (b"bytes=9-1",),
}
_STATUSES = frozenset({200, 400, 401, 404, 405, 413, 429, 503})
_LAST_EVENTS = ("response.completed", "response.incomplete")
_MAX_ERROR_BYTES = 4000


@dataclass(frozen=True, slots=True)
class FuzzRequest:
    method: str
    path: str  # with its query
    headers: tuple[tuple[bytes, bytes], ...] = ()
    chunks: tuple[bytes, ...] = ()  # more than one: sent as they are, with no length


@cache
def requests_to(path: str) -> SearchStrategy[FuzzRequest]:
    """POSTs to one of `BODIES`."""
    whole = _fields_of(BODIES[path]).map(_encode)
    bodies = mostly(mostly(whole, whole.flatmap(_damages)), _NO_BODIES)
    chunks = bodies.flatmap(_chunkings)
    return st.builds(FuzzRequest, st.just("POST"), st.just(path), _some_headers(), chunks)


@cache
def requests_to_anything() -> SearchStrategy[FuzzRequest]:
    """Any method at any path, known or not."""
    methods = st.sampled_from(
        ("GET", "GET", "GET", "POST", "DELETE", "PUT", "HEAD", "OPTIONS", "TRACE", "ODD")
    )
    known = st.sampled_from((*_READ_PATHS, *BODIES))
    odd = st.text(min_size=1, max_size=20).map(
        lambda text: "/" + "".join(f"%{byte:02X}" for byte in text.encode(errors="replace"))
    )
    paths = st.builds(lambda path, query: path + query, known | odd, st.sampled_from(_QUERIES))
    chunks = st.sampled_from(((), (b"{}",), (b"", b"{", b"}")))
    return st.builds(FuzzRequest, methods, paths, _some_headers(), chunks)


def _fields_of(kind: type[msgspec.Struct]) -> SearchStrategy[dict[str, Any]]:
    shape = msgspec.inspect.type_info(kind)
    assert isinstance(shape, msgspec.inspect.StructType)
    by_name = {field.name: _values_of_field(field.name, field.type) for field in shape.fields}
    by_name.update({name: ANY_JSON | HOSTILE for name in _FOREIGN_FIELDS if name not in by_name})
    names = st.sampled_from([field.name for field in shape.fields] * 4 + list(_FOREIGN_FIELDS))
    pairs = names.flatmap(lambda name: st.tuples(st.just(name), by_name[name]))
    return st.lists(pairs, max_size=4).map(lambda drawn: {**_GOOD_FIELDS[kind], **dict(drawn)})


def _values_of_field(name: str, kind: msgspec.inspect.Type) -> SearchStrategy[Any]:
    by_type = values_of_type(kind)
    return mostly(mostly(TELLING_VALUES.get(name, by_type), by_type), HOSTILE)


def _encode(value: Any) -> bytes:
    return expand_nests(json.dumps(value).encode())


_NO_BODIES = st.one_of(
    st.binary(max_size=64),
    ANY_JSON.map(_encode),
    st.sampled_from((b"", b"null", b"[]", b"{" * 60_000, b'{"a":' * 50_000, b"\xef\xbb\xbf{}")),
)


def _damages(body: bytes) -> SearchStrategy[bytes]:
    """Cut, doubled, in another encoding, or with a byte changed."""
    positions = st.integers(0, len(body) - 1)
    return st.one_of(
        positions.map(lambda at: body[:at]),
        st.tuples(positions, st.binary(min_size=1, max_size=2)).map(
            lambda change: body[: change[0]] + change[1] + body[change[0] + 1 :]
        ),
        st.sampled_from(
            (
                body[:-1] + b", " + body[1:],  # every key twice
                body + body,
                b"\xef\xbb\xbf" + body,
                body.decode().encode("utf-16"),
                b" " * 100_000 + body,
                body + b"\0",
                gzip.compress(body),
            )
        ),
    )


def _chunkings(body: bytes) -> SearchStrategy[tuple[bytes, ...]]:
    """Whole, or in pieces of one size, with an empty one among them."""
    size = max(1, len(body) // 7)
    pieces = tuple(body[at : at + size] for at in range(0, len(body), size))
    return st.sampled_from(((body,), (body,), (body,), (b"", *pieces)))


def _some_headers() -> SearchStrategy[tuple[tuple[bytes, bytes], ...]]:
    drawn = st.sampled_from(sorted(_HEADERS)).flatmap(
        lambda name: st.tuples(st.just(name), st.sampled_from(_HEADERS[name]))
    )
    return mostly(st.just(()), st.lists(drawn, max_size=3).map(tuple))


def fault_in(sent: FuzzRequest, answer: httpx.Response) -> str | None:
    """What is wrong with an answer, whatever was asked; None: nothing is."""
    if answer.status_code not in _STATUSES:
        return f"status {answer.status_code}: {answer.text[:500]}"
    if sent.method == "HEAD" or not answer.content:
        return None if answer.status_code < 400 or sent.method == "HEAD" else "no error body"
    if answer.status_code != 200:
        return _fault_in_error(answer.content)
    kind = answer.headers.get("content-type", "")
    if kind.startswith("text/event-stream"):
        return _fault_in_stream(answer.text)
    if kind.startswith("application/json"):
        _strict_json(answer.content)
    return None


def _fault_in_error(body: bytes) -> str | None:
    content = _strict_json(body)
    error = content.get("error") if isinstance(content, dict) else None
    if not isinstance(error, dict) or error.keys() != {"message", "type", "param", "code"}:
        return f"not OpenAI's error shape: {body[:500]!r}"
    strings = [error["message"], error["type"], error["param"] or "", error["code"] or ""]
    if not all(isinstance(one, str) for one in strings) or not (error["message"] and error["type"]):
        return f"an error without its words: {body[:500]!r}"
    if len(body) > _MAX_ERROR_BYTES:
        return f"an error of {len(body)} bytes"
    return None


def _fault_in_stream(text: str) -> str | None:
    events = [line[6:] for line in text.split("\n") if line.startswith("data: ")]
    if not events or not text.endswith("\n\n"):
        return f"a stream that breaks off: {text[-200:]!r}"
    parsed = [_strict_json(event.encode()) for event in events if event != "[DONE]"]
    if faults := [one for one in parsed if one.get("error") or one.get("type") == "error"]:
        return f"an error in a stream: {faults[0]}"
    if events[-1] != "[DONE]" and parsed[-1].get("type") not in _LAST_EVENTS:
        return f"a stream without its end: {events[-1][:200]}"
    return None


def _strict_json(body: bytes) -> Any:
    """Raises ValueError for what other parsers would not read: NaN, lone surrogates."""
    return msgspec.json.decode(body)
