"""Run as a process of its own: a decode worker with a pool on a GPU, driven over stdin and stdout.

Prints its descriptor as one line of JSON; each line that it reads is answered by the pool's rows,
`exit` ends it.
"""

import json
import sys

import msgspec
import torch

from legato.cluster.transfer.cuda_ipc import export_pool


def main() -> None:
    # Not at the beginning of its allocation: torch gives small tensors parts of a larger one.
    pools = torch.zeros(2, 6, 2, 4, device="cuda")
    print(msgspec.json.encode(export_pool("decode-0", pools[1])).decode(), flush=True)
    for line in sys.stdin:
        if line.strip() == "exit":
            return
        print(json.dumps(pools[1].view(6, 8).tolist()), flush=True)


if __name__ == "__main__":
    main()
