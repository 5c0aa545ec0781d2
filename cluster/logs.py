"""Where the log lines of Legato's own processes go: standard error, which Ray collects."""

import logging
import sys

FORMAT = "%(levelname)s %(asctime)s %(name)s: %(message)s"


def configure_logging(level: int | str = logging.INFO) -> None:
    """Sets up the `legato` loggers of this process; calling it again changes the level alone."""
    root = logging.getLogger("legato")
    root.setLevel(level)
    if not root.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter(FORMAT))
        root.addHandler(handler)
        root.propagate = False
