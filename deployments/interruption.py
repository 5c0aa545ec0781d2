"""What SIGINT and SIGTERM do to `legato serve`.

    starting ---- serving() ----> serving ---- a signal ----> stopping
        |                                                        |
        +--- a signal ---> every process is killed <--- a signal +

The handler raises nothing: an exception would come out wherever the main thread happens to be, and
a destructor, a callback or somebody's guarded import swallows it, or makes another error of it.
"""

import os
import signal
from queue import Empty, SimpleQueue
from types import FrameType
from typing import NoReturn

from legato.deployments.process_tree import kill_descendants

EXIT_CODE = 130  # as shells report a command that Ctrl-C ended


class Interruption:
    """The signals that end the command, and how far it has come."""

    def __init__(self) -> None:
        self._is_serving = False
        self._arrived: SimpleQueue[int] = SimpleQueue()  # handlers may put: it takes no lock

    def install(self) -> None:
        """Takes the signals over; called by the main thread."""
        for number in (signal.SIGTERM, signal.SIGINT):  # shells ignore SIGINT for background jobs
            signal.signal(number, self._on_signal)

    def serving(self) -> None:
        """From here on answers may be running: the first signal only makes `wait` return."""
        self._is_serving = True

    def wait(self, timeout_s: float) -> bool:
        """Whether a signal has come, within that time at most."""
        try:
            self._arrived.get(timeout=timeout_s)
        except Empty:
            return False
        return True

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if not self._is_serving:
            if os.isatty(2):
                os.write(2, b"\n")  # the line of the loading bar is still open
            end(EXIT_CODE)
        self._is_serving = False
        self._arrived.put(number)


def end(code: int) -> NoReturn:
    """Ends this process and all below it, now.

    Not by `sys.exit`: Ray's exit handlers would talk to processes that are gone by then.
    """
    kill_descendants()
    os._exit(code)
