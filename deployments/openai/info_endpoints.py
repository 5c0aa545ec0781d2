"""What operators and probes ask: models, health, load, version, metrics."""

from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from legato.deployments.openai.answer_format import encode_json
from legato.deployments.openai.errors import ErrorBody, ErrorEnvelope, error_response, error_type
from legato.deployments.openai.service import ApiService, ServingInfo


async def list_models(service: ApiService, http: Request) -> Response:
    models = [_model_card(name, service.info) for name in service.info.model_names]
    return _json({"object": "list", "data": models})


async def retrieve_model(service: ApiService, http: Request) -> Response:
    name = service.info.resolve_model(http.path_params["model_id"])
    return _json(_model_card(name, service.info))


async def live(service: ApiService, http: Request) -> Response:
    """Also /health and /ping: 503 asks for a restart."""
    return _probe(service.backend.is_alive(), "the engine does not respond")


async def ready(service: ApiService, http: Request) -> Response:
    return _probe(service.backend.is_ready(), "no new requests are taken now")


async def load(service: ApiService, http: Request) -> Response:
    return _json(dict(service.backend.load()))


async def version(service: ApiService, http: Request) -> Response:
    return _json({"version": service.info.version})


async def metrics(service: ApiService, http: Request) -> Response:
    return Response(service.metrics.render(), headers={"content-type": CONTENT_TYPE_LATEST})


def _model_card(name: str, info: ServingInfo) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": info.created,
        "owned_by": "legato",
        "root": info.model_names[0],
        "parent": None,
        "max_model_len": info.max_model_len,
    }


def _probe(is_well: bool, reason: str) -> Response:
    if is_well:
        return Response(status_code=200)
    body = ErrorEnvelope(ErrorBody(reason, error_type(503)))
    return error_response(503, body, {"retry-after": "1"})


def _json(value: dict[str, Any]) -> Response:
    return Response(encode_json(value), media_type="application/json")
