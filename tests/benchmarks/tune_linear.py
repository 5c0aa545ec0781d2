"""Times the configurations of small_linear on this GPU, prints the table of the best ones.

For each layer of Llama 8B and each number of tokens, in CUDA graphs over cold weights: ours, our
share of the read bandwidth, and torch (cuBLAS, and its gating or adding). All kernels are compiled
ahead by other processes, through Triton's cache on the disk. The printed table is for
kernels/gpu/small_linear_table.py.

    candidates -> compile -> time -> the best one -> with more or less prefetching -> the table
"""

import gc
import os
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context

import torch
import torch.nn.functional as F

from legato.kernels.gpu.activation import silu_and_mul
from legato.kernels.gpu.small_linear import Fused, small_linear
from legato.kernels.gpu.small_linear_config import (
    SmallLinearConfig,
    candidates,
    num_tokens_bucket,
)
from legato.kernels.gpu.toolchain import choose_assembler
from legato.tests.benchmarks.gpu_timing import median_seconds, num_cold_copies
from legato.tests.benchmarks.kernel_case import READ_BYTES_PER_S

DEVICE = torch.device("cuda")
# What is measured together gets one configuration.
NUM_TOKENS = ((1, 8, 16), (32,), (64,))
PREFETCHES = (0, 256, 512, 1024, 2048)
# Kernels of a graph overlap: enough of them that the first and the last one do not count.
MIN_CALLS = 8


@dataclass(frozen=True, slots=True)
class Layer:
    """A weight of [num_rows, num_inputs], and what is done with its product."""

    name: str
    num_rows: int
    num_inputs: int
    is_gated: bool = False
    adds: bool = False

    @property
    def num_outputs(self) -> int:
        return self.num_rows // 2 if self.is_gated else self.num_rows

    @property
    def num_bytes(self) -> int:
        return 2 * self.num_rows * self.num_inputs

    def ours(
        self, x: torch.Tensor, weight: torch.Tensor, out: torch.Tensor, config: SmallLinearConfig
    ) -> None:
        fused = Fused(is_gated=self.is_gated, adds=self.adds)
        small_linear(x, weight, None, out, config, fused)

    def torchs(self, x: torch.Tensor, weight: torch.Tensor, out: torch.Tensor) -> None:
        if self.adds:
            out.addmm_(x, weight.T)
        elif self.is_gated:
            silu_and_mul(F.linear(x, weight))
        else:
            F.linear(x, weight)


LAYERS = (
    Layer("qkv", 6144, 4096),
    Layer("output", 4096, 4096, adds=True),
    Layer("gate and up", 28672, 4096, is_gated=True),
    Layer("down", 4096, 14336, adds=True),
    Layer("head", 128256, 4096),
)

Job = tuple[Layer, int, SmallLinearConfig]  # int: tokens


@dataclass(frozen=True, slots=True, eq=False)
class Bench:
    """Copies of a layer's weight, so many that none stays in the cache."""

    layer: Layer
    weights: list[torch.Tensor]

    @classmethod
    def of(cls, layer: Layer) -> "Bench":
        shape, copies = (layer.num_rows, layer.num_inputs), num_cold_copies(layer.num_bytes)
        weights = [_random(*shape, scale=0.02) for _ in range(copies)]
        return cls(layer, weights)

    def seconds(self, num_tokens: int, config: SmallLinearConfig | None) -> float:
        """Of one call; of torch's without a configuration."""
        x, layer = _random(num_tokens, self.layer.num_inputs), self.layer
        out = _random(num_tokens, layer.num_outputs)

        def call_of(weight: torch.Tensor) -> Callable[[], object]:
            if config is None:
                return lambda: layer.torchs(x, weight, out)
            return lambda: layer.ours(x, weight, out, config)

        calls = [call_of(weight) for weight in self.weights]
        return median_seconds(calls * -(-MIN_CALLS // len(calls)))


def _random(*shape: int, scale: float = 1.0) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.bfloat16, device=DEVICE).normal_(0, scale)


def compile_one(job: Job) -> bool:
    """Runs a kernel once, which leaves it in Triton's cache; False if the GPU cannot run it."""
    layer, num_tokens, config = job
    x, weight, out = (
        torch.empty(shape, dtype=torch.bfloat16, device=DEVICE)
        for shape in (
            (num_tokens, layer.num_inputs),
            (layer.num_rows, layer.num_inputs),
            (num_tokens, layer.num_outputs),
        )
    )
    try:
        layer.ours(x, weight, out, config)
        torch.cuda.synchronize()
    except Exception as error:
        print(f"{layer.name}, {config}: {error}", file=sys.stderr)
        return False
    return True


def runnable(pool: ProcessPoolExecutor, jobs: Iterable[Job]) -> list[Job]:
    """Compiles all of them; the same kernel for another layer only once."""
    jobs = list(jobs)
    kernels = {_kernel_of(job): job for job in jobs}
    results = pool.map(compile_one, kernels.values())
    good = dict(zip(kernels, results, strict=True))
    return [job for job in jobs if good[_kernel_of(job)]]


def _kernel_of(job: Job) -> tuple[object, ...]:
    layer, num_tokens, config = job
    prefetch = config.prefetch_inputs(layer.num_inputs)
    fused = (layer.is_gated, layer.adds)
    return (*fused, num_tokens_bucket(num_tokens), replace(config, max_prefetch_inputs=prefetch))


def best_of(bench: Bench, num_tokens: tuple[int, ...], jobs: list[Job]) -> SmallLinearConfig:
    """The least time, summed over the numbers of tokens."""

    def total(config: SmallLinearConfig) -> float:
        return sum(bench.seconds(tokens, config) for tokens in num_tokens)

    wanted = (bench.layer, num_tokens[-1])
    return min((config for *job, config in jobs if tuple(job) == wanted), key=total)


def tune_layer(layer: Layer, first: list[Job], pool: ProcessPoolExecutor) -> list[str]:
    """The layer's lines of the table."""
    bench, lines = Bench.of(layer), []
    cuts = {tokens: best_of(bench, tokens, first) for tokens in NUM_TOKENS}
    second = runnable(
        pool,
        (
            (layer, tokens[-1], replace(config, max_prefetch_inputs=prefetch))
            for tokens, config in cuts.items()
            for prefetch in PREFETCHES
        ),
    )
    for tokens in NUM_TOKENS:
        config = best_of(bench, tokens, second)
        chosen = config if is_faster(bench, tokens, config) else None
        key = (layer.num_rows, layer.num_inputs, num_tokens_bucket(tokens[-1]))
        lines.append(f"    {key}: {chosen},")
    return lines


def is_faster(bench: Bench, num_tokens: tuple[int, ...], config: SmallLinearConfig) -> bool:
    """Whether it is faster than torch in sum; prints all times."""
    ours = [bench.seconds(tokens, config) for tokens in num_tokens]
    torchs = [bench.seconds(tokens, None) for tokens in num_tokens]
    for tokens, our_s, torch_s in zip(num_tokens, ours, torchs, strict=True):
        share = bench.layer.num_bytes / READ_BYTES_PER_S / our_s
        print(
            f"{bench.layer.name:<12} m={tokens:<3} {1e6 * our_s:7.2f} us, {share:4.0%} of read "
            f"bandwidth, torch {1e6 * torch_s:7.2f} us; {config}",
            flush=True,
        )
    return sum(ours) < sum(torchs)


def main() -> int:
    jobs = (
        (layer, tokens[-1], config)
        for layer in LAYERS
        for tokens in NUM_TOKENS
        for config in candidates(tokens[-1], layer.num_rows, layer.num_inputs)
    )
    choose_assembler()
    num_processes = max(1, (os.cpu_count() or 1) - 1)
    with ProcessPoolExecutor(num_processes, get_context("spawn"), choose_assembler) as pool:
        first = runnable(pool, jobs)
        print(f"{len(first)} candidates", flush=True)
        gc.freeze()  # each capture of a graph collects garbage
        lines = [line for layer in LAYERS for line in tune_layer(layer, first, pool)]
    print("\nTABLE: Table = {", *lines, "}", sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
