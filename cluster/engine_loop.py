"""The engine's thread: one owner of one EngineCore, and the only place that calls it.

    asyncio thread                      engine thread
      post(fn), request(fn) --queue-->  fn(core)            between two steps
      on_step(report)       <--loop---  core.step()         while there is work

The loop knows no messages and no transfers: what happens between two steps is posted to it.
"""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from legato.engine.batch import StepResult
from legato.engine.core import EngineCore

T = TypeVar("T")
logger = logging.getLogger(__name__)
STARVED_WAIT_S = 0.05


@dataclass(frozen=True, slots=True)
class StepReport:
    """A step's result and what it took: the time since the step before it, or since it began."""

    result: StepResult
    duration_s: float  # of successive steps, the sum is the time that has passed


class EngineLoop:
    """Runs an engine on a thread of its own.

    `on_step` and `on_death` are called on the event loop that created it.
    """

    def __init__(
        self,
        core: EngineCore,
        on_step: Callable[[StepReport], None],
        on_death: Callable[[BaseException], None],
    ) -> None:
        self._core = core
        self._on_step = on_step
        self._on_death = on_death
        self._commands: queue.SimpleQueue[Callable[[EngineCore], None] | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self.last_progress = time.monotonic()  # of the thread: a hung step is seen from outside

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread after the step that it waits for; what else is under way is left."""
        self._commands.put(None)

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def post(self, command: Callable[[EngineCore], None]) -> None:
        """Has the engine's thread run `command` between two steps."""
        self._commands.put(command)

    def request(
        self,
        command: Callable[[EngineCore], T],
        then: Callable[[T], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """As `post`; the result (or error) is handed over on the event loop.

        It arrives in order with the steps: before the results of any step that follows.
        """

        def run(core: EngineCore) -> None:
            try:
                outcome = command(core)
            except Exception as error:
                self._to_loop(failed, error)
            else:
                self._to_loop(then, outcome)

        self.post(run)

    def _to_loop(self, function: Callable[..., None], *arguments: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)

    def _run(self) -> None:
        wait_s, collected_s = 0.0, 0.0
        try:
            while self._drain(wait_s if self._core.has_work() else None):
                self.last_progress = time.monotonic()
                if self._core.has_work():
                    # A step that is under way already began when the one before it ended.
                    is_begun = self._core.num_steps_under_way > 0
                    start_s = collected_s if is_begun else time.perf_counter()
                    result = self._core.step()
                    collected_s = time.perf_counter()
                    self._to_loop(self._on_step, StepReport(result, collected_s - start_s))
                    is_starved = result.num_prefill_tokens + result.num_decode_tokens == 0
                    # All memory is held by transfers then: only a command can change that.
                    wait_s = STARVED_WAIT_S if is_starved else 0.0
        except BaseException as error:
            logger.exception("the engine died")
            self._to_loop(self._on_death, error)

    def _drain(self, wait_s: float | None) -> bool:
        """Runs the commands that are there; False: stop.

        Waits up to `wait_s` seconds for the first one (None: as long as it takes).
        """
        is_blocking = wait_s is None or wait_s > 0
        while True:
            try:
                command = self._commands.get(is_blocking, wait_s)
            except queue.Empty:
                return True
            if command is None:
                return False
            command(self._core)
            is_blocking, wait_s = False, None
