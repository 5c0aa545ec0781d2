"""The peer's figures: vLLM 0.26.0 on one H200, colocated with chunked prefill, Llama-8B's shape.

Measured on 2026-11-22 with the same workloads at the same rates for each GPU. Its budget of tokens
for one step was tuned three ways: a small one smooths streams, costs first tokens and throughput.
"""

from dataclasses import dataclass

NAN = float("nan")


@dataclass(frozen=True, slots=True)
class PeerPoint:
    """Times in ms; shares in percent, of requests with a first token within half a second and their
    own ITL p99 within 10, 15 and 25 ms. NaN: not known."""

    workload: str
    rate_per_gpu: float
    budget: int
    ttft_p50_ms: float
    ttft_p99_ms: float
    itl_p50_ms: float
    itl_p99_ms: float
    itl_max_ms: float
    shares: tuple[float, float, float]


PEER = (
    PeerPoint("L", 2, 2048, 110, 221, 5.4, 38.6, 68, (0, 0, 30)),
    PeerPoint("L", 2, 512, 152, 278, 5.4, 22.9, 35, (11, 11, 75)),
    PeerPoint("L", 2, 256, 222, 438, 5.5, 15.5, 22, (17, 75, 100)),
    PeerPoint("L", 3, 512, 154, 491, 5.9, 23.7, 32, (4, 9, 79)),
    PeerPoint("L", 3, 256, 225, 598, 6.0, 13.9, 22, (4, 87, 96)),
    PeerPoint("L", 4, 2048, 130, 272, 6.2, 52.0, 86, (0, 0, 8)),
    PeerPoint("L", 4, 512, 222, 706, 6.6, 26.5, 37, (4, 9, 30)),
    PeerPoint("L", 4, 256, 292, 1236, 7.1, 12.8, 19, (4, 75, 80)),
    PeerPoint("L", 6, 2048, 203, NAN, NAN, 58.3, NAN, (0, 0, 3)),
    PeerPoint("L", 6, 512, 309, NAN, NAN, 26.4, NAN, (1, 2, 62)),
    PeerPoint("L", 6, 256, 824, NAN, NAN, 12.9, NAN, (1, 35, 35)),
    PeerPoint("S", 8, 2048, 33, NAN, NAN, 24.5, NAN, (0, 0, 63)),
    PeerPoint("S", 8, 512, 43, NAN, NAN, 21.2, NAN, (2, 7, 94)),
    PeerPoint("S", 8, 256, 48, NAN, NAN, 12.1, NAN, (6, 100, 100)),
    PeerPoint("S", 16, 2048, 43, NAN, NAN, 30.2, NAN, (0, 0, 22)),
    PeerPoint("S", 16, 512, 48, NAN, NAN, 20.8, NAN, (1, 5, 92)),
    PeerPoint("S", 16, 256, 67, NAN, NAN, 14.4, NAN, (11, 85, 100)),
)
