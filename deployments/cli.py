"""The command `legato`: reads its words, prepares the processes' environment, runs until Ctrl-C.

It imports neither Ray nor torch, so `--help` and mistakes in flags answer at once.
"""

import logging
import os
import sys
import traceback
from importlib import import_module
from typing import NoReturn

from legato.deployments.arguments import parse
from legato.deployments.interruption import EXIT_CODE, Interruption, end
from legato.deployments.process_tree import adopt_orphans
from legato.engine.errors import LegatoError

# What libraries read from the environment as they are imported, here and in every process that
# they start, where the Ray is our own (a running one has its environment already):
# - Direct ingress would open ports beside ours.
# - Ray's workers yield to everything else on the machine (niceness 15) unless told otherwise. Batch
#   jobs may; a server's streams may not.
# - The fifth is Ray's switch for machines whose address is the loopback's: with it Ray binds its
#   ports to 127.0.0.1, not to all interfaces.
# - On CPUs, oneDNN and torch's layer above it keep what they prepare for a product of exactly these
#   sizes, by default 1,024 products each, and nearly every step has another number of tokens: a
#   worker of the built-in model grew by 435 MB in 1,200 requests, and so, no slower, by 70.
LOCAL_ENVIRONMENT = {
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",
    "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
    "LRU_CACHE_CAPACITY": "64",
}


def main() -> NoReturn:
    """The entry point of the command."""
    interruption = Interruption()
    interruption.install()
    command = parse(sys.argv[1:], os.environ)
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
    adopt_orphans()
    if command.ray_address is None:
        os.environ.update(LOCAL_ENVIRONMENT)
    code = 0
    try:
        import_module("legato.deployments.serving").serve(command, interruption)
    except LegatoError as error:
        print(f"legato: {error}", file=sys.stderr)
        code = 1
    except SystemExit:  # from Ray, whose own handler of SIGTERM is in force while it starts
        code = EXIT_CODE
    except Exception:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    end(code)


if __name__ == "__main__":
    main()
