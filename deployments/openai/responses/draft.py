"""A request for a response, checked and put into the model's words: all that a run of it needs.

body ─> items: earlier ones, then its own ─> messages ─> ChatRequest ─> GenerationPlan
"""

from collections.abc import Sequence
from dataclasses import dataclass

from legato.deployments.openai.auth import tenant
from legato.deployments.openai.chat_planning import Arrival, plan_chat, render_chat
from legato.deployments.openai.generation import GenerationPlan
from legato.deployments.openai.responses.input_items import read_input
from legato.deployments.openai.responses.items import Item, num_encoded_bytes
from legato.deployments.openai.responses.messages import to_messages
from legato.deployments.openai.responses.request import (
    InputFields,
    ResponsesRequest,
    check_input_fields,
    check_request,
)
from legato.deployments.openai.responses.response_object import ResponseObject
from legato.deployments.openai.responses.store import ResponseStore, StoredResponse
from legato.deployments.openai.responses.translation import own_terms, to_chat_request
from legato.deployments.openai.responses.truncation import without_oldest_turns
from legato.deployments.openai.service import ApiService
from legato.engine.errors import ContextLengthError, InvalidRequestError

_NOTHING_IS_KEPT = "this server keeps no responses"


class PreviousResponseNotFoundError(InvalidRequestError):
    """It was never there, is gone, or is somebody else's."""

    code = "previous_response_not_found"


@dataclass(frozen=True, slots=True)
class Conversation:
    """What the model is told, apart from instructions."""

    items: tuple[Item, ...]
    num_earlier_items: int
    num_bytes: int

    @classmethod
    def of(cls, body: InputFields, owner: bytes, store: ResponseStore) -> "Conversation":
        """Raises InvalidRequestError for items that cannot be read, and what is not there."""
        if body.input is None:
            raise InvalidRequestError("this field is required", "input")
        earlier = _find_previous(body.previous_response_id, owner, store)
        own = read_input(body.input, lambda item_id: store.find_item(owner, item_id))
        earlier_items = earlier.items if earlier else ()
        return cls(
            (*earlier_items, *own),
            len(earlier_items),
            num_encoded_bytes(own) + (earlier.num_item_bytes if earlier else 0),
        )


@dataclass(frozen=True, slots=True)
class Draft:
    """A response that may be generated."""

    plan: GenerationPlan
    response: ResponseObject  # before anything has come of it
    conversation: Conversation
    owner: bytes  # whose it is
    is_kept: bool  # once it has ended
    wants_logprobs: bool
    wants_summary: bool


async def draft_response(service: ApiService, body: ResponsesRequest, arrival: Arrival) -> Draft:
    """Raises RequestError, in the terms of this endpoint, for what cannot be answered."""
    service.info.resolve_generator(body.model)
    check_request(body)
    store = service.responses
    if not store.keeps and (body.store or body.background):
        param = "background" if body.background else "store"
        raise InvalidRequestError(_NOTHING_IS_KEPT, param)
    owner = tenant(arrival.http.scope)
    conversation = Conversation.of(body, owner, store)
    with own_terms():
        items = await _items_to_send(service, body, conversation.items)
        chat = to_chat_request(body, to_messages(body.instructions, items))
        plan = await plan_chat(service, chat, arrival)
    return Draft(
        plan,
        ResponseObject.of(body, plan.model, plan.requests[0].params),
        conversation,
        owner,
        store.keeps and body.store is not False,
        body.wants_logprobs,
        body.wants_summary,
    )


async def count_input_tokens(service: ApiService, body: InputFields, arrival: Arrival) -> int:
    """How many tokens the model would be told. Raises RequestError as `draft_response` does."""
    service.info.resolve_model(body.model)
    check_input_fields(body)
    conversation = Conversation.of(body, tenant(arrival.http.scope), service.responses)
    with own_terms():
        return await _num_tokens(service, body, conversation.items)


async def _items_to_send(
    service: ApiService, body: ResponsesRequest, items: Sequence[Item]
) -> Sequence[Item]:
    """All of them, or those that leave room for an answer, if that is asked for."""
    if body.truncation != "auto":
        return items
    wanted = body.max_output_tokens or service.info.generation_defaults.get("max_tokens") or 1
    room = service.info.max_model_len - int(wanted)

    async def fits(some: Sequence[Item]) -> bool:
        try:
            return await _num_tokens(service, body, some) <= room
        except ContextLengthError:
            return False

    return await without_oldest_turns(items, fits)


async def _num_tokens(service: ApiService, body: InputFields, items: Sequence[Item]) -> int:
    chat = to_chat_request(body, to_messages(body.instructions, items))
    return len((await render_chat(service, chat)).token_ids)


def _find_previous(
    response_id: str | None, owner: bytes, store: ResponseStore
) -> StoredResponse | None:
    if response_id is None:
        return None
    found = store.get(owner, response_id)
    if found is None:
        reason = "there is no such response, or it has not ended"
        raise PreviousResponseNotFoundError(
            reason if store.keeps else _NOTHING_IS_KEPT, "previous_response_id"
        )
    return found
