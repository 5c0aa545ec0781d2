"""The OpenAI HTTP surface as one Starlette application.

    ErrorBoundary ─ AuthenticationLayer ─ routing ─ endpoint ─ answer
                                                       │          └ Backend.generate
                                                       └ body -> schema -> sampling, prompts -> plan

It knows the cluster through legato.deployments.openai.backend alone.
"""

from collections.abc import Awaitable, Callable
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp

from legato.deployments.openai.auth import PUBLIC_PATHS, AuthenticationLayer
from legato.deployments.openai.embedding_endpoints import (
    create_embeddings,
    create_scores,
    rerank,
)
from legato.deployments.openai.errors import (
    ErrorBoundary,
    respond_to_http_exception,
    respond_to_legato_error,
)
from legato.deployments.openai.generate_endpoints import create_chat_completion, create_completion
from legato.deployments.openai.info_endpoints import (
    list_models,
    live,
    load,
    metrics,
    ready,
    retrieve_model,
    version,
)
from legato.deployments.openai.playground_endpoints import activity, page_file
from legato.deployments.openai.responses.endpoints import (
    cancel_response,
    count_tokens,
    create_response,
    delete_response,
    list_input_items,
    retrieve_response,
)
from legato.deployments.openai.service import ApiService
from legato.deployments.openai.text_endpoints import detokenize, tokenize
from legato.engine.errors import LegatoError

Endpoint = Callable[[ApiService, Request], Awaitable[ASGIApp]]

_ENDPOINTS: tuple[tuple[str, str, Endpoint], ...] = (
    ("GET", "/v1/models", list_models),
    ("GET", "/v1/models/{model_id:path}", retrieve_model),
    ("POST", "/v1/chat/completions", create_chat_completion),
    ("POST", "/v1/completions", create_completion),
    ("POST", "/v1/responses", create_response),
    ("POST", "/v1/responses/input_tokens", count_tokens),
    ("GET", "/v1/responses/{response_id}", retrieve_response),
    ("DELETE", "/v1/responses/{response_id}", delete_response),
    ("POST", "/v1/responses/{response_id}/cancel", cancel_response),
    ("GET", "/v1/responses/{response_id}/input_items", list_input_items),
    ("POST", "/v1/embeddings", create_embeddings),
    ("POST", "/score", create_scores),
    ("POST", "/v1/score", create_scores),
    ("POST", "/rerank", rerank),
    ("POST", "/v1/rerank", rerank),
    ("POST", "/v2/rerank", rerank),
    ("POST", "/tokenize", tokenize),
    ("POST", "/detokenize", detokenize),
    ("GET", "/health", live),
    ("GET", "/ping", live),
    ("GET", "/live", live),
    ("GET", "/ready", ready),
    ("GET", "/load", load),
    ("GET", "/version", version),
    ("GET", "/metrics", metrics),
)


def create_app(service: ApiService) -> Starlette:
    """The application; it owns nothing of `service` and starts nothing."""
    pages = service.playground.files if service.playground is not None else {}
    endpoints = list(_ENDPOINTS)
    if pages:  # and what they watch
        endpoints += [("GET", path, partial(page_file, file)) for path, file in pages.items()]
        endpoints.append(("GET", "/activity", activity))
    app = Starlette(
        routes=[
            Route(path, partial(endpoint, service), methods=[method])
            for method, path, endpoint in endpoints
        ],
        middleware=[
            Middleware(ErrorBoundary),
            Middleware(
                AuthenticationLayer,
                api_keys=service.api_keys,
                public_paths=PUBLIC_PATHS | pages.keys(),
            ),
        ],
        exception_handlers={
            HTTPException: respond_to_http_exception,
            LegatoError: respond_to_legato_error,
        },
    )
    # A redirect would repeat the Host header, which anybody can forge.
    app.router.redirect_slashes = False
    return app
