"""Python's own settings for processes that serve streams: its collector, and its lock.

Tokens make no cycles, but the collector counts their objects all the same: with Python's defaults a
full collection came every 70,000 objects and stalled a router's 256 streams for 30 ms, several
times in ten seconds.

In a worker's process the engine's thread plans steps while the event loop moves tokens and KV. With
Python's default a thread that wants to run waits 5 ms for one that does not let go: a step's time.
"""

import gc
import sys

# Objects before the youngest are looked at; young collections before a middle one; middle ones
# before a full one. A middle one comes every ten seconds or so under full load.
THRESHOLDS = (20_000, 20, 50)
SWITCH_INTERVAL_S = 0.0002


def calm_collector() -> None:
    """To be called once what a process loads at its start is there."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)


def share_interpreter() -> None:
    """Has threads that want to run wait for a moment only."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
