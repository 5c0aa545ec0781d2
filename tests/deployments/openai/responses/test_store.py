"""What is kept, for whom and for how long."""

import msgspec

from legato.deployments.openai.responses.items import InputText, Item, MessageItem
from legato.deployments.openai.responses.request import ResponsesRequest
from legato.deployments.openai.responses.response_object import ResponseObject
from legato.deployments.openai.responses.store import ResponseStore, StoredResponse, StoreLimits
from legato.engine.sampling_params import SamplingParams

ANNA, BERT = b"anna", b"bert"
HEAD = ResponseObject.of(ResponsesRequest(), "model", SamplingParams())


def message(item_id: str, role: str = "user") -> MessageItem:
    return MessageItem(item_id, role, (InputText("hi"),))


def stored(name: str, earlier: tuple[Item, ...] = (), num_bytes: int = 10) -> StoredResponse:
    """A response with one item of input and one of output."""
    output = (message(f"{name}_out", "assistant"),)
    response = msgspec.structs.replace(HEAD, id=name, output=output)
    items = (*earlier, message(f"{name}_in"))
    return StoredResponse(response, items, len(earlier), num_bytes // 2, num_bytes)


def test_an_owner_finds_what_is_its_own() -> None:
    store = ResponseStore()
    first = stored("a")
    store.put(ANNA, first)
    assert store.get(ANNA, "a") is first
    assert store.get(BERT, "a") is None
    assert store.find_item(ANNA, "a_in") is first.input_items[0]
    assert store.find_item(ANNA, "a_out") is first.response.output[0]
    assert store.find_item(BERT, "a_out") is None
    assert not store.remove(BERT, "a")
    assert store.remove(ANNA, "a")
    assert not store.remove(ANNA, "a")
    assert store.get(ANNA, "a") is None
    assert store.find_item(ANNA, "a_in") is None


def test_the_oldest_goes_when_there_are_too_many_and_others_lose_nothing() -> None:
    store = ResponseStore(StoreLimits(max_responses=2))
    store.put(BERT, stored("b"))
    for name in ("x", "y", "z"):
        store.put(ANNA, stored(name))
    assert store.get(ANNA, "x") is None
    assert store.find_item(ANNA, "x_in") is None
    assert store.get(ANNA, "y") and store.get(ANNA, "z") and store.get(BERT, "b")


def test_the_oldest_go_when_there_are_too_many_bytes() -> None:
    store = ResponseStore(StoreLimits(max_bytes=25))
    for name in ("x", "y", "z"):
        store.put(ANNA, stored(name))
    assert store.get(ANNA, "x") is None and store.get(ANNA, "y") is not None
    store.put(ANNA, stored("large", num_bytes=26))
    assert all(store.get(ANNA, name) is None for name in ("y", "z", "large"))


def test_whoever_has_most_loses_when_all_have_too_much() -> None:
    store = ResponseStore(StoreLimits(max_total_bytes=35))
    store.put(BERT, stored("b"))
    for name in ("x", "y", "z"):
        store.put(ANNA, stored(name))
    assert store.get(ANNA, "x") is None
    assert store.get(ANNA, "y") and store.get(ANNA, "z") and store.get(BERT, "b")


def test_a_response_goes_when_its_time_is_over() -> None:
    now_s = 0.0
    store = ResponseStore(StoreLimits(max_age_s=10), clock=lambda: now_s)
    store.put(ANNA, stored("x"))
    now_s = 9.0
    store.put(ANNA, stored("y"))
    assert store.get(ANNA, "x") is not None
    now_s = 10.0
    assert store.get(ANNA, "x") is None
    assert store.find_item(ANNA, "x_in") is None
    assert store.get(ANNA, "y") is not None


def test_a_conversation_is_whole_without_the_responses_before() -> None:
    store = ResponseStore()
    first = stored("a")
    second = stored("b", first.items)
    store.put(ANNA, first)
    store.put(ANNA, second)
    store.remove(ANNA, "a")
    assert [item.id for item in second.items] == ["a_in", "a_out", "b_in", "b_out"]
    assert [item.id for item in second.own_items] == ["b_in", "b_out"]
    assert store.find_item(ANNA, "a_out") is None
    assert store.find_item(ANNA, "b_out") is not None


def test_a_store_may_keep_nothing() -> None:
    store = ResponseStore(StoreLimits(max_responses=0))
    store.put(ANNA, stored("a"))
    assert not store.keeps and store.get(ANNA, "a") is None
