"""The command `legato`: reads its words, prepares the processes' environment, runs until Ctrl-C.

It imports neither Ray nor torch, so `--help` and mistakes in flags answer at once.
"""

import logging
import os
import signal
import sys
from importlib import import_module
from types import FrameType
from typing import NoReturn

from legato.deployments.arguments import parse
from legato.engine.errors import LegatoError

# What Ray and Serve read from the environment as they are imported, here and in every process that
# they start:
# - Direct ingress would open ports beside ours.
# - Ray's workers yield to everything else on the machine (niceness 15) unless told otherwise. Batch
#   jobs may; a server's streams may not.
# - The last one is Ray's switch for machines whose address is the loopback's: with it Ray binds its
#   ports to 127.0.0.1, not to all interfaces.
LOCAL_ENVIRONMENT = {
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",
    "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}


def main() -> NoReturn:
    """The entry point of the command."""
    command = parse(sys.argv[1:], os.environ)
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)  # shells start background jobs with it ignored
    os.environ.update(LOCAL_ENVIRONMENT)
    code = 0
    try:
        import_module("legato.deployments.serving").serve(command)
    except LegatoError as error:
        print(f"legato: {error}", file=sys.stderr)
        code = 1
    except (KeyboardInterrupt, SystemExit):  # the latter from Ray, while it starts
        code = 130
    sys.stdout.flush()
    sys.stderr.flush()
    # Ray's own exit handlers would talk to processes that are gone by now.
    os._exit(code)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
