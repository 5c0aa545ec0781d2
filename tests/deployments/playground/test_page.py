"""The page at / as people meet it: in a real browser, which enforces the page's policy.

browser ── HTTP ──> listener ── application ── scripted backend       all but the last test
        ── HTTP ──> `legato serve` with the built-in model            the last one
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
import pytest_asyncio

from legato.cluster.generation import GenerationEvent, GenerationRequest
from legato.deployments.listener import Listener, bind
from legato.deployments.openai.app import create_app
from legato.deployments.openai.message.dialect import Dialect
from legato.deployments.openai.message.reasoning import THINK_TAGS
from legato.deployments.openai.message.tool_syntax import HERMES
from legato.deployments.openai.playground import Playground
from legato.tests.cluster.reports import make_report
from legato.tests.deployments.browser import Browser, Tab, running_browser
from legato.tests.deployments.openai.harness import (
    MODEL,
    ScriptedBackend,
    decode,
    encode,
    make_service,
)
from legato.tests.deployments.server import Server

pytestmark = pytest.mark.asyncio(loop_scope="module")

IS_IDLE = "document.getElementById('messages').getAttribute('aria-busy') === 'false'"
PREFILL, DECODE = "legato:app:prefill:aaaa1111:0", "legato:app:decode:bbbb2222:0"
STAGES = {"queue": 0.001, "prefill": 0.002, "reserve": 0.001, "transfer": 0.003}
CALL = '<tool_call>{"name": "get_weather", "arguments": {"city": "Köln"}}</tool_call>'


class MovingBackend(ScriptedBackend):
    """The first token comes from a prefill worker, what follows from a decode worker."""

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[GenerationEvent, None]:
        workers = iter((PREFILL, DECODE))
        async with aclosing(super().generate(request)) as events:
            async for event in events:
                yield msgspec.structs.replace(event, worker=next(workers, None))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browser]:
    async with running_browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@asynccontextmanager
async def page(browser: Browser, backend: ScriptedBackend, **options: Any) -> AsyncIterator[Tab]:
    """The page of an application with two workers; it must not have complained at the end."""
    service = replace(make_service(backend, **options), playground=Playground.load())
    service.metrics.take_report(make_report(worker=PREFILL, role="prefill", num_waiting=2))
    service.metrics.take_report(make_report(worker=DECODE, num_running=3, num_free_blocks=75))
    sock = bind("127.0.0.1", 0, shares_port=False)
    listener = Listener(create_app(service), sock)
    listener.start()
    try:
        tab = await browser.open(f"http://127.0.0.1:{sock.getsockname()[1]}/")
        yield tab
        await tab.close()
        assert {urlsplit(url).netloc for url in tab.urls} == {f"127.0.0.1:{sock.getsockname()[1]}"}
    finally:
        await listener.stop()


async def say(tab: Tab, text: str) -> None:
    await tab.click("#prompt")
    await tab.write(text)
    await tab.press("Enter")


async def is_seen_on(tab: Tab, number: int) -> None:
    await tab.until(f"document.querySelectorAll('#requests li').length === {number}")


async def test_an_answer_streams_in_as_text_whatever_it_looks_like(browser: Browser) -> None:
    hostile = "<img src=x onerror=alert(1)> & <b>bold</b>"
    async with page(browser, ScriptedBackend(encode(hostile))) as tab:
        await say(tab, "<script>alert(1)</script>")
        await tab.until(IS_IDLE)
        assert await tab.text(".user .text") == "<script>alert(1)</script>"
        assert await tab.text(".assistant .text") == hostile
        facts = await tab.text(".facts")
        assert "first token after" in facts and "tokens/s" in facts and "ended by stop" in facts
        assert tab.problems == []


async def test_what_the_fields_say_reaches_the_model(browser: Browser) -> None:
    backend = ScriptedBackend(encode("one two"))
    async with page(browser, backend) as tab:
        await tab.click("#settings summary")
        fields = {"system": "Be brief.", "temperature": "0.5", "max-tokens": "7", "stops": "zz"}
        for name, value in fields.items():
            await tab.click(f"#{name}")
            await tab.write(value)
        await say(tab, "hi")
        await tab.until(IS_IDLE)
        await say(tab, "again")
        await tab.until("document.querySelectorAll('.facts').length === 2")
    params = backend.requests[0].params
    assert (params.temperature, params.max_tokens, params.stop) == (0.5, 7, ("zz",))
    prompt = decode(backend.requests[1].prompt_token_ids)
    places = [prompt.index(text) for text in ("Be brief.", "hi", "one two", "again")]
    assert places == sorted(places)


async def test_thoughts_and_calls_are_shown_apart_and_results_go_back(browser: Browser) -> None:
    backend = ScriptedBackend(encode(f"<think>Where is it?</think>Wait.{CALL}"))
    dialect = Dialect(HERMES, THINK_TAGS["qwen3"])
    async with page(browser, backend, dialect=dialect) as tab:
        await tab.click("#settings summary")
        await tab.click("#example-tool")
        await say(tab, "Weather?")
        await tab.until("document.querySelector('.results') !== null")
        assert "Where is it?" in await tab.text(".reasoning")
        assert await tab.text(".assistant > div > .text") == "Wait."
        assert "get_weather" in await tab.text(".call") and "Köln" in await tab.text(".call pre")
        await tab.write("rain, 9 degrees")  # the field for the result has the focus
        await tab.press("Enter")
        await tab.until("document.querySelectorAll('.results').length === 1")
        assert tab.problems == []
    prompt = decode(backend.requests[1].prompt_token_ids)
    assert "get_weather" in prompt and "rain, 9 degrees" in prompt


async def test_stop_ends_the_answer_in_the_cluster_too(browser: Browser) -> None:
    backend = ScriptedBackend(gate=asyncio.Semaphore(3))
    async with page(browser, backend) as tab:
        await say(tab, "hi")
        await tab.until("document.querySelector('.assistant .text')?.textContent.length > 3")
        await tab.click("#stop")
        await tab.until(IS_IDLE)
        assert await tab.text(".assistant .error") == "Stopped."
        await tab.until("document.getElementById('requests').querySelector('.duration') !== null")
        async with asyncio.timeout(10):  # the server hears of it a moment later
            while backend.num_closed_early == 0:
                await asyncio.sleep(0.01)


async def test_an_error_is_shown_with_its_own_words(browser: Browser) -> None:
    async with page(browser, ScriptedBackend()) as tab:
        await tab.click("#settings summary")
        await tab.click("#tools")
        await tab.write("{")
        await say(tab, "hi")
        await tab.until(IS_IDLE)
        assert (await tab.text(".assistant .error")).startswith("Tools: ")
        await tab.evaluate("document.getElementById('tools').value = ''")
        await say(tab, "please fail")
        await tab.until("document.querySelectorAll('.error').length === 2")
        assert "this conversation is refused" in await tab.text("#messages")


async def test_the_key_is_asked_for_and_kept_in_the_tab_alone(browser: Browser) -> None:
    async with page(browser, ScriptedBackend(), api_keys=["right"]) as tab:
        for key in ("wrong", "right"):
            await tab.until("document.getElementById('key-dialog').open")
            await tab.evaluate("document.getElementById('key').select()")
            await tab.write(key)
            await tab.press("Enter")
        await tab.until(f"document.getElementById('model').value === '{MODEL}'")
        await tab.until("document.querySelectorAll('.worker').length === 2")
        assert not await tab.evaluate("document.getElementById('key-dialog').open")
        kept = await tab.evaluate("[{...sessionStorage}, localStorage.length, document.cookie]")
        assert kept == [{"legato-api-key": "right"}, 0, ""]


async def test_workers_and_the_way_of_a_request_are_seen(browser: Browser) -> None:
    gate = asyncio.Semaphore(3)
    backend = MovingBackend(encode("a b c d e f"), gate=gate, timeline=STAGES)
    async with page(browser, backend) as tab:
        await tab.until("document.querySelectorAll('.worker').length === 2")
        assert "25% of 100" in await tab.text(".lane.decode .worker")
        assert "Queue\n2" in await tab.text(".lane.prefill .worker")
        await say(tab, "hi")
        await tab.until("document.querySelector('.lane.decode .chip')?.textContent === '#1'")
        for _ in range(100):
            gate.release()
        await tab.until(
            "document.querySelector('#request-detail h3')?.textContent.includes('stop')"
        )
        detail = await tab.text("#request-detail")
        for stage in ("Queue", "Prefill", "Reserve blocks", "Transfer", "On prefill aaaa"):
            assert stage in detail
        assert "Then decode bbbb" in detail
        assert await tab.evaluate("document.querySelectorAll('.bar.stage-handover').length") == 1
        assert tab.problems == []


async def test_a_request_is_chosen_by_the_keyboard_and_stays_chosen(browser: Browser) -> None:
    async with page(browser, MovingBackend(timeline=STAGES)) as tab:
        for number in (1, 2):
            await say(tab, "hi")
            await is_seen_on(tab, number)
        await tab.evaluate("document.querySelector('#requests li:last-child button').focus()")
        await tab.press("Enter")
        assert "#1" in await tab.text("#request-detail h3")
        await say(tab, "hi")
        await is_seen_on(tab, 3)
        assert "#1" in await tab.text("#request-detail h3")
        assert await tab.text("[aria-pressed=true] .number") == "#1"


async def test_a_phone_shows_one_view_at_a_time_and_nothing_sticks_out(browser: Browser) -> None:
    async with page(browser, MovingBackend(timeline=STAGES)) as tab:
        await tab.resize(390, 844)
        await say(tab, "hi " + "x" * 100)
        await is_seen_on(tab, 1)
        for view, hidden in (("chat", "live"), ("live", "chat")):
            await tab.click(f"#show-{view}")
            assert await tab.evaluate(f"document.getElementById('{hidden}').offsetParent === null")
            for name in (f"#{view}", "html", "#messages"):
                node = f"document.querySelector('{name}')"
                is_wide = await tab.evaluate(f"{node}.scrollWidth > {node}.clientWidth")
                assert not is_wide, (view, name)


async def test_it_is_dark_where_dark_is_preferred(browser: Browser) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    async with page(browser, ScriptedBackend()) as tab:
        await tab.use_dark(False)
        light = await tab.evaluate(colour)
        await tab.use_dark(True)
        assert await tab.evaluate(colour) != light


async def test_the_built_in_model_answers_and_its_handover_is_drawn(
    browser: Browser, server: Server
) -> None:
    tab = await browser.open(f"{server.url}/")
    await say(tab, "Hello!")
    await tab.until(IS_IDLE, timeout_s=60)
    assert "Hello" in await tab.text(".assistant .text")
    detail = "document.getElementById('request-detail').textContent"
    for drawn in ("Then decode", "Transfer"):  # one after the other, as the page hears of them
        await tab.until(f"{detail}.includes('{drawn}')")
    assert tab.problems == []
    await tab.close()
