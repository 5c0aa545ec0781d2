"""A real headless Chromium, driven over its DevTools protocol by two pipes: no driver to install.

test ──{"id": 1, "method": ...}\\0──> Chromium        its file descriptor 3
     <──{"id": 1, "result": ...}\\0──                 its file descriptor 4, and events without id
"""

import asyncio
import base64
import itertools
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-dev-shm-usage", "--remote-debugging-pipe"),
)
ANSWER_S = 20.0
_MAX_MESSAGE_BYTES = 64 << 20  # screenshots are messages
# Gives the browser its pipes where it looks for them: shells cannot name any descriptor.
_LAUNCH = """
import os, sys
reading, writing = map(os.dup, map(int, sys.argv[1:3]))
for descriptor, wanted in ((reading, 3), (writing, 4)):
    os.dup2(descriptor, wanted)
    os.set_inheritable(wanted, True)  # which dup2 leaves alone if both are the same
os.execv(sys.argv[3], sys.argv[3:])
"""
# Looks again and again within the page; a wait that was in vain says what it was for.
_UNTIL = """
new Promise((resolve, reject) => {
  const look = () => {
    const found = (() => %s)();
    if (found) resolve(found);
    else if (performance.now() > %d) reject(new Error("in vain"));
    else setTimeout(look, 20);
  };
  look();
})
"""


class Tab:
    """One page. `problems` are what it complained of, `urls` what it asked for."""

    def __init__(self, browser: "Browser", target: str, session: str) -> None:
        self._browser = browser
        self._target = target
        self._session = session
        self.problems: list[str] = []
        self.urls: list[str] = []

    async def send(self, method: str, **params: Any) -> Any:
        return await self._browser.send(method, self._session, **params)

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited if it is a promise."""
        answer = await self.send(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, (expression, answer["exceptionDetails"])
        return answer["result"].get("value")

    async def until(self, condition: str, timeout_s: float = 15.0) -> Any:
        """Returns, as soon as the expression is true, its value."""
        now_ms = await self.evaluate("performance.now()")
        return await self.evaluate(_UNTIL % (condition, now_ms + 1000 * timeout_s))

    async def text(self, selector: str) -> str:
        """What is seen of the first element that the selector finds."""
        text: str = await self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")
        return text

    async def click(self, selector: str) -> None:
        """With the mouse, in its middle: what covers it gets the click instead."""
        where = await self.evaluate(
            f"(() => {{ const node = document.querySelector({json.dumps(selector)});"
            "node.scrollIntoView({block: 'nearest'}); const box = node.getBoundingClientRect();"
            "return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.send(
                "Input.dispatchMouseEvent",
                **{"type": kind, "x": where[0], "y": where[1], "button": "left", "clickCount": 1},
            )

    async def write(self, text: str) -> None:
        """Into whatever has the focus."""
        await self.send("Input.insertText", text=text)

    async def press(self, key: str) -> None:
        code = {"Enter": 13, "Tab": 9, "Escape": 27}[key]
        fields = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        if key == "Enter":
            fields["text"] = "\r"
        for kind in ("keyDown", "keyUp"):
            await self.send("Input.dispatchKeyEvent", type=kind, **fields)

    async def resize(self, width: int, height: int) -> None:
        await self.send(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )

    async def use_dark(self, is_dark: bool) -> None:
        value = "dark" if is_dark else "light"
        features = [{"name": "prefers-color-scheme", "value": value}]
        await self.send("Emulation.setEmulatedMedia", features=features)

    async def screenshot(self, path: Path) -> None:
        picture = await self.send("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(picture["data"]))

    async def close(self) -> None:
        await self._browser.send("Target.closeTarget", targetId=self._target)

    def note(self, method: str, params: dict[str, Any]) -> None:
        """Called by the browser for each event."""
        if method == "Network.requestWillBeSent":
            self.urls.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("warning", "error"):
            self.problems.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")


class Browser:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.WriteTransport) -> None:
        self._reader = reader
        self._writer = writer
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._tabs: dict[str, Tab] = {}

    async def listen(self) -> None:
        """Takes in what the browser says, until it is gone."""
        while True:
            message = json.loads((await self._reader.readuntil(b"\0"))[:-1])
            if "id" in message:
                answer = self._answers.pop(message["id"])
                if not answer.done():  # nobody waits for it any more
                    answer.set_result(message)
            elif (tab := self._tabs.get(message.get("sessionId"))) is not None:
                tab.note(message["method"], message["params"])

    async def send(self, method: str, session: str | None = None, **params: Any) -> Any:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        self._writer.write(json.dumps(message).encode() + b"\0")
        reply = await asyncio.wait_for(answer, ANSWER_S)
        assert "error" not in reply, (method, reply["error"])
        return reply["result"]

    async def open(self, url: str, width: int = 1280, height: int = 800) -> Tab:
        target = (await self.send("Target.createTarget", url="about:blank"))["targetId"]
        attached = await self.send("Target.attachToTarget", targetId=target, flatten=True)
        tab = self._tabs[attached["sessionId"]] = Tab(self, target, attached["sessionId"])
        for domain in ("Page", "Runtime", "Log", "Network"):
            await tab.send(f"{domain}.enable")
        await tab.resize(width, height)
        await tab.send("Page.navigate", url=url)
        await tab.until("document.readyState === 'complete' && location.href !== 'about:blank'")
        return tab


def find_browser() -> str:
    """The command; the test is skipped if there is none."""
    found = [path for name in NAMES if (path := shutil.which(name)) is not None]
    if not found:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    return found[0]


@asynccontextmanager
async def running_browser(profile: Path) -> AsyncIterator[Browser]:
    """A browser of its own, with an empty profile in that folder."""
    command = [find_browser(), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-ISc", _LAUNCH, str(to_read), str(from_write), *command),
        pass_fds=(to_read, from_write),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    os.close(to_read)
    os.close(from_write)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_MAX_MESSAGE_BYTES)
    reading, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(from_read, "rb")
    )
    writing, _ = await loop.connect_write_pipe(asyncio.Protocol, os.fdopen(to_write, "wb"))
    browser = Browser(reader, writing)
    listening = asyncio.create_task(browser.listen())
    try:
        yield browser
        await browser.send("Browser.close")
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        reading.close()
        writing.close()
        if process.returncode is None:
            try:
                await asyncio.wait_for(process.wait(), 10)
            except TimeoutError:
                process.kill()
                await process.wait()
