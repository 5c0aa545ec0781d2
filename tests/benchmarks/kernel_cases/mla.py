"""Latent attention with keys of 576 and values of 512, as DeepSeek-V2-Lite and V3 have them.

`tuning_cases()` are the deciding rows for each of the configurations worth a measurement.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from legato.kernels.attention_params import AttentionParams
from legato.kernels.gpu.attention_batch import AttentionBatch
from legato.kernels.gpu.decode_work import DecodeConfig, DecodeShape, DecodeWork, plan_decode
from legato.kernels.gpu.latent_decode import heads_of_decode_group, latent_decode
from legato.kernels.gpu.latent_prefill import latent_prefill
from legato.kernels.gpu.latent_shape import (
    decode_candidates,
    decode_config,
    heads_of_group,
    prefill_candidates,
    prefill_config,
)
from legato.kernels.gpu.prefill_work import PrefillConfig, PrefillWork, plan_prefill
from legato.tests.benchmarks.gpu_timing import num_cold_copies
from legato.tests.benchmarks.kernel_case import KernelCase, Prepared, Unit

DEVICE, DTYPE = torch.device("cuda"), torch.bfloat16
KEY_DIM, VALUE_DIM, BLOCK_SIZE = 576, 512, 64
PARAMS = AttentionParams(192**-0.5)
NUM_CHECKED_QUERIES = 4


@dataclass(frozen=True, slots=True)
class Workload:
    """Sequences of one length, with their last `query_len` queries each."""

    num_sequences: int
    context_len: int
    num_heads: int
    query_len: int = 1

    @property
    def num_bytes(self) -> int:
        """Of the keys."""
        return self.num_sequences * self.context_len * KEY_DIM * DTYPE.itemsize

    @property
    def flop(self) -> int:
        seen = self.context_len - (self.query_len - 1) / 2
        pairs = self.num_sequences * self.query_len * seen * self.num_heads
        return int(2 * pairs * (KEY_DIM + VALUE_DIM))


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Copies of the same work: copy i is layer i of the pool, and query i."""

    queries: torch.Tensor  # [copies, rows, heads, KEY_DIM]
    pool: torch.Tensor
    batch: AttentionBatch

    @staticmethod
    def make(workload: Workload) -> "Inputs":
        count, copies = workload.num_sequences, num_cold_copies(workload.num_bytes)
        blocks = -(-workload.context_len // BLOCK_SIZE)
        shape = (count * blocks, copies, 1, 1, BLOCK_SIZE, KEY_DIM)
        rows = (copies, count * workload.query_len, workload.num_heads, KEY_DIM)
        starts = torch.arange(count + 1, dtype=torch.int32, device=DEVICE) * workload.query_len
        lens = torch.full((count,), workload.context_len, dtype=torch.int32, device=DEVICE)
        tables = torch.randperm(count * blocks, device=DEVICE).view(count, blocks).int()
        return Inputs(
            torch.randn(rows, device=DEVICE, dtype=DTYPE),
            torch.randn(shape, device=DEVICE, dtype=DTYPE),
            AttentionBatch(starts, lens, tables),
        )

    def prepared(
        self, attend: Callable[[torch.Tensor, int, torch.Tensor], None], workload: Workload
    ) -> list[Callable[[], torch.Tensor]]:
        """A call for each copy of `attend`, which gets query, layer and output."""

        def call_of(layer: int) -> Callable[[], torch.Tensor]:
            query = self.queries[layer]
            output = torch.empty((*query.shape[:2], VALUE_DIM), dtype=DTYPE, device=DEVICE)

            def call() -> torch.Tensor:
                attend(query, layer, output)
                return output

            return call

        return [call_of(layer) for layer in range(self.queries.shape[0])]


def prepare_decode(workload: Workload, unit: Unit, config: DecodeConfig | None = None) -> Prepared:
    inputs = Inputs.make(workload)
    group = heads_of_decode_group(workload.num_heads, VALUE_DIM, DTYPE, DEVICE)
    groups = workload.num_heads // group
    shape = DecodeShape(
        workload.num_sequences, workload.num_heads, groups, VALUE_DIM, DTYPE, DEVICE
    )
    work = DecodeWork.allocate(shape, config or decode_config(group, DTYPE))
    plan_decode(inputs.batch, work)

    def attend(query: torch.Tensor, layer: int, output: torch.Tensor) -> None:
        latent_decode(query, inputs.pool, layer, inputs.batch, work, PARAMS, output)

    calls = inputs.prepared(attend, workload)
    amount = workload.flop if unit is Unit.TFLOPS else workload.num_bytes
    return Prepared(calls, error_ratio(calls[0](), inputs, workload), amount)


def prepare_prefill(workload: Workload, config: PrefillConfig | None = None) -> Prepared:
    inputs, group = Inputs.make(workload), heads_of_group(workload.num_heads)
    rows = workload.num_sequences * workload.query_len
    config = config or prefill_config(group, DTYPE)
    work = PrefillWork.allocate(workload.num_sequences, rows, group, config, DEVICE)
    plan_prefill(inputs.batch, work)

    def attend(query: torch.Tensor, layer: int, output: torch.Tensor) -> None:
        latent_prefill(query, inputs.pool, layer, inputs.batch, work, PARAMS, output)

    calls = inputs.prepared(attend, workload)
    return Prepared(calls, error_ratio(calls[0](), inputs, workload), workload.flop)


def error_ratio(output: torch.Tensor, inputs: Inputs, workload: Workload) -> float:
    """The worst of some last queries of layer 0: our error over that of torch in bfloat16."""
    ratios = []
    for sequence in range(min(NUM_CHECKED_QUERIES, workload.num_sequences)):
        row = (sequence + 1) * workload.query_len - 1
        query = inputs.queries[0, row]
        ids = inputs.batch.block_tables[sequence].long()
        keys = inputs.pool[ids, 0, 0, 0].flatten(0, 1)[: workload.context_len]
        exact = textbook(query.double(), keys.double())
        peer_error = (textbook(query, keys) - exact).norm()
        ratios.append(float((output[row] - exact).norm() / peer_error))
    return max(ratios)


def textbook(query: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """[heads, VALUE_DIM] in the type of its arguments."""
    return (query @ keys.T * PARAMS.scale).softmax(-1) @ keys[:, :VALUE_DIM]


DECODE = [
    ("b=64 ctx 4k, 16 heads", Workload(64, 4096, 16), Unit.READ_SHARE, 70, 85),
    ("b=64 ctx 4k, 128 heads", Workload(64, 4096, 128), Unit.TFLOPS, 300, 450),
    ("b=8 ctx 4k, 16 heads", Workload(8, 4096, 16), Unit.READ_SHARE, None, None),
    ("b=1 ctx 4k, 16 heads", Workload(1, 4096, 16), Unit.MICROSECONDS, None, None),
]
PREFILL = [
    ("4 x 4k, 16 heads", Workload(4, 4096, 16, query_len=4096)),
    ("1 x 4k, 128 heads", Workload(1, 4096, 128, query_len=4096)),
    ("2k on 16k, 16 heads", Workload(1, 18432, 16, query_len=2048)),
]
CASES = [
    *(
        KernelCase(f"MLA decode, {name}", unit, partial(prepare_decode, workload, unit), must, aim)
        for name, workload, unit, must, aim in DECODE
    ),
    *(
        KernelCase(f"MLA prefill, {name}", Unit.TFLOPS, partial(prepare_prefill, workload))
        for name, workload in PREFILL
    ),
]


def tuning_cases() -> list[KernelCase]:
    """The rows that decide, for each of the configurations worth a measurement."""
    decode = [
        KernelCase(
            f"{name}, {config}", unit, partial(prepare_decode, workload, unit, config), must, aim
        )
        for name, workload, unit, must, aim in DECODE[:2]
        for config in decode_candidates(
            heads_of_decode_group(workload.num_heads, VALUE_DIM, DTYPE, DEVICE)
        )
    ]
    prefill = [
        KernelCase(f"{name}, {config}", Unit.TFLOPS, partial(prepare_prefill, workload, config))
        for name, workload in PREFILL[:1]
        for config in prefill_candidates()
    ]
    return [*decode, *prefill]
