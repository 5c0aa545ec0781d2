"""Python's cyclic garbage collector, set for processes that serve streams.

Tokens make no cycles, but the collector counts their objects all the same: with Python's defaults a
full collection came every 70,000 objects and stalled a router's 256 streams for 30 ms, several
times in ten seconds.
"""

import gc

# Objects before the youngest are looked at; young collections before a middle one; middle ones
# before a full one. A middle one comes every ten seconds or so under full load.
THRESHOLDS = (20_000, 20, 50)


def calm_collector() -> None:
    """To be called once what a process loads at its start is there."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
