"""Times the configurations of token_experts on this GPU, beside tokens sorted by their experts.

Whole layers of Qwen3-30B-A3B's shape for few tokens, in CUDA graphs over cold weights: first the
first kernel's configurations, then the second's beside the best one of those. All are compiled
ahead by other processes, through Triton's cache on the disk.
"""

import argparse
import gc
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple
from functools import partial
from multiprocessing import get_context

import torch

from legato.kernels.expert_weights import ExpertWeights
from legato.kernels.gpu.expert_routing import route_tokens
from legato.kernels.gpu.experts import add_experts_
from legato.kernels.gpu.token_experts import TokenConfig, add_token_experts_
from legato.kernels.gpu.toolchain import choose_assembler
from legato.tests.benchmarks.gpu_timing import median_seconds
from legato.tests.benchmarks.kernel_case import READ_BYTES_PER_S
from legato.tests.benchmarks.kernel_cases.moe import (
    MIN_CALLS,
    QWEN,
    Layer,
    layers_of,
    make_logits,
    mean_bytes,
    random,
)

NUM_TOKENS = (1, 2, 4)
GATES = [(4, 256, 2), (4, 256, 1), (8, 256, 2), (8, 256, 4), (16, 256, 4)]  # rows, inputs, warps
DOWNS = [(4, 128, 4), (8, 128, 4), (4, 256, 4), (8, 256, 8), (16, 128, 8)]


def candidates() -> list[TokenConfig]:
    """Each kernel's configurations beside the other's default."""
    gates = [TokenConfig(*sizes) for sizes in GATES]
    return gates + [TokenConfig(*GATES[0], *sizes) for sizes in DOWNS]


def compile_one(config: TokenConfig) -> None:
    """Runs both kernels once, which leaves them in Triton's cache."""
    layer = Layer(random(1, 2 * QWEN.dim, QWEN.hidden), random(1, QWEN.hidden, QWEN.dim))
    layer = Layer(*(one.expand(QWEN.num_experts, -1, -1).contiguous() for one in astuple(layer)))
    seconds(1, config, [layer])


def seconds(num_tokens: int, config: TokenConfig | None, layers: list[Layer]) -> float:
    """Of one layer; None: tokens are sorted by their experts. Prints its share of the bandwidth."""
    all_logits = [make_logits(QWEN, num_tokens, 0.0) for _ in range(MIN_CALLS)]
    x, residual = random(num_tokens, QWEN.hidden), random(num_tokens, QWEN.hidden)

    def run(logits: torch.Tensor, layer: Layer) -> None:
        experts, params = ExpertWeights(layer.gate_up, layer.down), QWEN.params
        if config is None:
            add_experts_(x, route_tokens(logits, None, None, params), experts, residual)
        else:
            add_token_experts_(x, logits, None, None, params, experts, residual, config=config)

    found = median_seconds(
        [partial(run, one, layers[i % len(layers)]) for i, one in enumerate(all_logits)]
    )
    share = mean_bytes(QWEN, all_logits) / READ_BYTES_PER_S / found
    print(f"m={num_tokens}: {1e6 * found:6.1f} us, {share:6.1%}, {config or 'sorted'}", flush=True)
    return found


def main() -> int:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    choose_assembler()
    num_processes = max(1, (os.cpu_count() or 1) - 1)
    with ProcessPoolExecutor(num_processes, get_context("spawn"), choose_assembler) as pool:
        list(pool.map(compile_one, candidates()))
    print("compiled", flush=True)
    gc.freeze()  # each capture of a graph collects garbage
    layers = layers_of(QWEN)
    gate = min(GATES, key=lambda sizes: seconds(1, TokenConfig(*sizes), layers))
    down = min(DOWNS, key=lambda sizes: seconds(1, TokenConfig(*gate, *sizes), layers))
    best = TokenConfig(*gate, *down)
    print(f"\nthe best: {best}")
    for num_tokens in NUM_TOKENS:
        for config in (None, best):
            seconds(num_tokens, config, layers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
