"""Run as a process of its own: a decode worker with a shared pool, driven over stdin and stdout.

Prints its descriptor as one line of JSON; each line that it reads is answered by the pool's rows,
`exit` ends it.
"""

import json
import sys

import msgspec
import torch

from legato.cluster.transfer.shared_memory import SharedPool


def main() -> None:
    shared = SharedPool(6 * 32)
    pool = shared.buffer.view(torch.float32).view(6, 2, 4)
    print(msgspec.json.encode(shared.describe("decode-0", pool)).decode(), flush=True)
    for line in sys.stdin:
        if line.strip() == "exit":
            return
        print(json.dumps(pool.view(6, 8).tolist()), flush=True)


if __name__ == "__main__":
    main()
