"""Run as a process of its own: a decode worker with a pool that NIXL knows, driven over stdin.

Prints its descriptor as one line of JSON; each line that it reads is answered by the pool's rows.
"""

import json
import logging
import sys

import msgspec
import torch

from legato.cluster.transfer.nixl_agent import NixlAgent
from legato.cluster.transfer.transport import PoolDescriptor


def main() -> None:
    pool = torch.zeros(6, 2, 4)
    agent = NixlAgent("decode-0", pool)
    private = PoolDescriptor.private("decode-0", (6, 2, 4), "float32")
    descriptor = msgspec.structs.replace(private, registered=agent.describe())
    print(msgspec.json.encode(descriptor).decode(), flush=True)
    for _ in sys.stdin:
        print(json.dumps(pool.view(6, 8).tolist()), flush=True)


if __name__ == "__main__":
    logging.disable(logging.INFO)  # NIXL's logger writes to stdout
    main()
