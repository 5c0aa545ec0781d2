"""Times the configurations of expert_linear on this GPU, prints the table of the best ones.

For both products of Mixtral's and Qwen's layers of experts, each number of tokens and two sizes of
tiles, in CUDA graphs over cold weights. All kernels are compiled ahead by other processes, through
Triton's cache on the disk. The printed table is for kernels/gpu/experts_table.py; the times of the
two sizes tell whether `block_pairs_of` in experts_config.py chooses well.

    candidates -> compile -> time -> the best ones of each shape -> the table
"""

import argparse
import gc
import os
import sys
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

import torch

from legato.kernels.gpu.expert_linear import expert_linear
from legato.kernels.gpu.expert_routing import GpuExpertRoutes, route_tokens
from legato.kernels.gpu.experts_config import (
    MIN_BLOCK_PAIRS,
    ProductConfig,
    ProductShape,
    block_pairs_of,
    candidates,
)
from legato.kernels.gpu.toolchain import choose_assembler
from legato.kernels.routing_params import RoutingParams
from legato.tests.benchmarks.gpu_timing import median_seconds
from legato.tests.benchmarks.kernel_case import READ_BYTES_PER_S
from legato.tests.benchmarks.kernel_cases.moe import (
    MAX_DECODE_TOKENS,
    MIN_CALLS,
    MIXTRAL,
    QWEN,
    Layer,
    Shape,
    layers_of,
    make_logits,
    mean_bytes,
    random,
)

NUM_TOKENS = (1, 32, 128, 2048, 8192)
NUM_PRINTED = 3


@dataclass(frozen=True, slots=True)
class Job:
    """One configuration of one product of a layer."""

    model: Shape
    num_tokens: int
    shape: ProductShape
    config: ProductConfig

    @property
    def pairs_per_row(self) -> int:
        return self.model.top_k if self.shape.is_gated else 1


def all_jobs(models: list[Shape]) -> list[Job]:
    jobs = []
    for model in models:
        sizes = ((2 * model.dim, model.hidden, True), (model.hidden, model.dim, False))
        for num_tokens in NUM_TOKENS:
            usual = block_pairs_of(num_tokens * model.top_k, model.num_experts)
            for block_pairs in sorted({max(MIN_BLOCK_PAIRS, usual // 2), usual}):
                for num_rows, num_inputs, is_gated in sizes:
                    shape = ProductShape(num_rows, num_inputs, block_pairs, is_gated)
                    configs = candidates(block_pairs)
                    jobs += [Job(model, num_tokens, shape, config) for config in configs]
    return jobs


def compile_one(job: Job) -> bool:
    """Runs a kernel once, which leaves it in Triton's cache; False if the GPU cannot run it."""
    shape = job.shape
    num_pairs = job.config.group_tiles * shape.block_pairs  # as many tiles as a group has
    weight, x = random(1, shape.num_rows, shape.num_inputs), random(num_pairs, shape.num_inputs)
    params, block_pairs = RoutingParams(top_k=1), shape.block_pairs
    routes = route_tokens(random(num_pairs, 1), None, None, params, block_pairs=block_pairs)
    try:
        expert_linear(x, weight, routes, job.pairs_per_row, shape.is_gated, config=job.config)
        torch.cuda.synchronize()
    except Exception as error:
        print(f"{shape}, {job.config}: {error}", file=sys.stderr)
        return False
    return True


def seconds(job: Job) -> float:
    """Of one call; prints its share of the bandwidth, or TFLOP/s."""
    model, shape = job.model, job.shape
    x = random(job.num_tokens * model.top_k // job.pairs_per_row, shape.num_inputs)
    is_decode = job.num_tokens <= MAX_DECODE_TOKENS
    num_calls = MIN_CALLS if is_decode else 2  # which take long enough
    all_logits = [make_logits(model, job.num_tokens, 0.0) for _ in range(num_calls)]

    def call(routes: GpuExpertRoutes, layer: Layer) -> Callable[[], object]:
        weight = layer.gate_up if shape.is_gated else layer.down
        arguments = (x, weight, routes, job.pairs_per_row, shape.is_gated)
        return partial(expert_linear, *arguments, config=job.config)

    layers, route = layers_of(model), partial(route_tokens, block_pairs=shape.block_pairs)
    found = median_seconds(
        [
            call(route(logits, None, None, model.params), layers[index % len(layers)])
            for index, logits in enumerate(all_logits)
        ]
    )
    part = 2 / 3 if shape.is_gated else 1 / 3  # of the layer
    if is_decode:
        share = part * mean_bytes(model, all_logits) / READ_BYTES_PER_S / found
        figure = f"{share:6.1%} of read bandwidth"
    else:
        figure = f"{part * model.flop(job.num_tokens) / found / 1e12:6.0f} TFLOP/s"
    product = "gate and up" if shape.is_gated else "down"
    print(
        f"{model.name}, m={job.num_tokens}, {product}, tiles of {shape.block_pairs}:"
        f" {1e6 * found:8.1f} us, {figure}, {job.config}",
        flush=True,
    )
    return found


def compile_all(jobs: list[Job]) -> list[Job]:
    """Those that the GPU can run."""
    kernels = {(job.shape, job.config): job for job in jobs}
    num_processes = max(1, (os.cpu_count() or 1) - 1)
    with ProcessPoolExecutor(num_processes, get_context("spawn"), choose_assembler) as pool:
        results = zip(kernels, pool.map(compile_one, kernels.values()), strict=True)
        good = {kernel for kernel, is_good in results if is_good}
    print(f"{len(good)} kernels", flush=True)
    return [job for job in jobs if (job.shape, job.config) in good]


def time_products(jobs: list[Job]) -> None:
    """Prints each, the best of each shape and number of tokens, and the table."""
    times = {job: seconds(job) for job in jobs}
    cases: dict[tuple[ProductShape, int], list[Job]] = defaultdict(list)
    # A shape may serve several numbers of tokens: the configuration with the least time in sum.
    totals: dict[ProductShape, dict[ProductConfig, float]] = defaultdict(lambda: defaultdict(float))
    for job in jobs:
        cases[job.shape, job.num_tokens].append(job)
        totals[job.shape][job.config] += times[job]
    for (shape, num_tokens), its_jobs in cases.items():
        print(f"\n{shape}, m={num_tokens}")
        for job in sorted(its_jobs, key=times.__getitem__)[:NUM_PRINTED]:
            print(f"{1e6 * times[job]:8.1f} us, {job.config}")
    best = {shape: min(total, key=total.__getitem__) for shape, total in totals.items()}
    print("\nTABLE: Table = {", *(f"    {s}: {c}," for s, c in best.items()), "}", sep="\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="models with this in their name")
    arguments = parser.parse_args()
    models = [model for model in (MIXTRAL, QWEN) if arguments.only in model.name]
    choose_assembler()
    jobs = compile_all(all_jobs(models))
    gc.freeze()  # each capture of a graph collects garbage
    time_products(jobs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
