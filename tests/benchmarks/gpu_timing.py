"""How long work takes on the GPU: replays of a CUDA graph, so that launches cost nothing."""

import statistics
from collections.abc import Callable, Sequence

import torch

NUM_REPLAYS = 50
# A GPU that had little to do before takes some milliseconds until it is as fast as it will be.
WARM_UP_S = 0.05
# Inputs that take turns until they are larger than this are never found in the L2 cache.
COLD_BYTES = 256 << 20


def num_cold_copies(num_bytes: int) -> int:
    """How many sets of inputs of this size have to take turns."""
    return max(2, -(-COLD_BYTES // max(num_bytes, 1))) if num_bytes < COLD_BYTES else 2


def median_seconds(calls: Sequence[Callable[[], object]]) -> float:
    """The median over replays of a graph that makes all calls once, for one call.

    Args:
        calls: the same work on different tensors, see `num_cold_copies`; at most some hundred
    """
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for call in calls:  # compiles, allocates
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for call in calls:
            call()
    warm_s = 0.0
    while warm_s < WARM_UP_S:
        warm_s += _replay_seconds(graph)
    times = [_replay_seconds(graph) for _ in range(NUM_REPLAYS)]
    return statistics.median(times) / len(calls)


def _replay_seconds(graph: torch.cuda.CUDAGraph) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    graph.replay()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000
