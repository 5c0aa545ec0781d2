"""POST /v1/responses, and what can be asked of a response afterwards.

| | live in the background | in the store | neither, or another owner's |
|---|---|---|---|
| GET | as it stands, or its events | the same | 404 |
| GET input_items | pages of them | the same | 404 |
| POST cancel | stops it | as it is; 400 if it was not in the background | 404 |
| DELETE | stops it, and forgets it | forgets it | 404 |
"""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from legato.deployments.openai.auth import tenant
from legato.deployments.openai.body import read_request
from legato.deployments.openai.chat_planning import Arrival
from legato.deployments.openai.responses.answers import (
    ReplayedResponse,
    StreamedResponse,
    WholeResponse,
    json_response,
)
from legato.deployments.openai.responses.background import start_in_background
from legato.deployments.openai.responses.draft import count_input_tokens, draft_response
from legato.deployments.openai.responses.event_log import EventLog
from legato.deployments.openai.responses.item_pages import PageQuery, page_of
from legato.deployments.openai.responses.items import Item
from legato.deployments.openai.responses.request import InputFields, ResponsesRequest
from legato.deployments.openai.responses.response_object import ResponseObject
from legato.deployments.openai.service import ApiService
from legato.engine.errors import InvalidRequestError, NotFoundError

_MAX_NUMBER_CHARS = 12


async def create_response(service: ApiService, http: Request) -> ASGIApp:
    arrival = Arrival(http)
    body = await read_request(http, ResponsesRequest, service.limits.max_body_bytes)
    draft = await draft_response(service, body, arrival)
    if not body.background:
        kind = StreamedResponse if draft.plan.options.stream else WholeResponse
        return kind(service, draft)
    response, log = start_in_background(service, draft)
    if log is not None:
        return ReplayedResponse(log, 0, service.limits.keep_alive_s)
    return json_response(response)


async def count_tokens(service: ApiService, http: Request) -> Response:
    arrival = Arrival(http)
    body = await read_request(http, InputFields, service.limits.max_body_bytes)
    num_tokens = await count_input_tokens(service, body, arrival)
    return json_response({"object": "response.input_tokens", "input_tokens": num_tokens})


async def retrieve_response(service: ApiService, http: Request) -> ASGIApp:
    found = _find(service, http)
    query = http.query_params
    if query.get("stream", "false").lower() != "true":
        return json_response(found.response)
    if found.log is None:
        raise InvalidRequestError(
            "only responses that were made with background and stream can be streamed", "stream"
        )
    after = query.get("starting_after", "-1")
    if not after.removeprefix("-").isdecimal() or len(after) > _MAX_NUMBER_CHARS:
        raise InvalidRequestError("must be an integer", "starting_after")
    return ReplayedResponse(found.log, max(0, int(after) + 1), service.limits.keep_alive_s)


async def list_input_items(service: ApiService, http: Request) -> Response:
    query = PageQuery.of(http.query_params)
    return json_response(page_of(_find(service, http).input_items, query))


async def cancel_response(service: ApiService, http: Request) -> Response:
    response = _find(service, http).response
    if not response.background:
        raise InvalidRequestError("only a response in the background can be cancelled")
    await service.live_responses.cancel(tenant(http.scope), response.id)
    return json_response(_find(service, http).response)


async def delete_response(service: ApiService, http: Request) -> Response:
    response = _find(service, http).response
    owner = tenant(http.scope)
    await service.live_responses.cancel(owner, response.id)
    service.responses.remove(owner, response.id)
    return json_response({"id": response.id, "object": "response", "deleted": True})


@dataclass(frozen=True, slots=True)
class _Found:
    response: ResponseObject
    input_items: tuple[Item, ...]
    log: EventLog | None


def _find(service: ApiService, http: Request) -> _Found:
    owner, response_id = tenant(http.scope), http.path_params["response_id"]
    live = service.live_responses.get(owner, response_id)
    if live is not None:
        return _Found(live.run.response, live.run.input_items, live.log)
    stored = service.responses.get(owner, response_id)
    if stored is not None:
        return _Found(stored.response, stored.input_items, stored.log)
    raise NotFoundError(f"there is no response {response_id[:80]!r}", "response_id")
