"""Decode attention: large and small batches, long and short contexts, and what costs extra.

Rows in "x" compare with a plain case that reads as many bytes, or for 8 bits twice as many.
`tuning_cases()` are the deciding rows for each of the configurations worth a measurement.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F

from legato.kernels.attention_params import AttentionParams
from legato.kernels.gpu.attention_batch import AttentionBatch
from legato.kernels.gpu.decode_attention import decode_attention
from legato.kernels.gpu.decode_work import (
    DecodeConfig,
    DecodeShape,
    DecodeWork,
    candidates,
    plan_decode,
)
from legato.tests.benchmarks.gpu_timing import median_seconds, num_cold_copies
from legato.tests.benchmarks.kernel_case import KernelCase, Prepared, Unit

DEVICE = torch.device("cuda")
FP8 = torch.float8_e4m3fn
NUM_KV_HEADS = 8
NUM_CHECKED_SEQUENCES = 4


@dataclass(frozen=True, slots=True)
class Workload:
    """Sequences with one query each, and the model's attention."""

    context_lens: tuple[int, ...]
    group: int = 4
    head_dim: int = 128
    block_size: int = 64
    kv_dtype: torch.dtype = torch.bfloat16
    window: int | None = None
    softcap: float | None = None

    @property
    def params(self) -> AttentionParams:
        return AttentionParams(self.head_dim**-0.5, self.window, self.softcap)

    @property
    def num_bytes(self) -> int:
        """Of the keys and values that queries see."""
        tokens = sum(min(length, self.window or length) for length in self.context_lens)
        return tokens * 2 * NUM_KV_HEADS * self.head_dim * self.kv_dtype.itemsize


def uniform(num_sequences: int, context_len: int) -> Workload:
    return Workload((context_len,) * num_sequences)


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Copies of the same work: copy i is layer i of the pool, and query i."""

    queries: list[torch.Tensor]
    pool: torch.Tensor
    batch: AttentionBatch


def make_inputs(workload: Workload) -> Inputs:
    block_size, head_dim = workload.block_size, workload.head_dim
    blocks = [-(-context_len // block_size) for context_len in workload.context_lens]
    copies = num_cold_copies(workload.num_bytes)
    shape = (sum(blocks), copies, 2, NUM_KV_HEADS, block_size, head_dim)
    pool = torch.randn(shape, device=DEVICE, dtype=torch.bfloat16).to(workload.kv_dtype)
    num_sequences, num_heads = len(blocks), workload.group * NUM_KV_HEADS
    wide_shape = (copies, num_sequences, num_heads + 2 * NUM_KV_HEADS, head_dim)
    wide = torch.randn(wide_shape, device=DEVICE, dtype=torch.bfloat16)
    tables = torch.zeros((num_sequences, max(blocks)), dtype=torch.int32)
    for table, ids in zip(tables, torch.randperm(sum(blocks)).split(blocks), strict=True):
        table[: len(ids)] = ids
    lens = torch.tensor(workload.context_lens, dtype=torch.int32, device=DEVICE)
    starts = torch.arange(num_sequences + 1, dtype=torch.int32, device=DEVICE)
    batch = AttentionBatch(starts, lens, tables.to(DEVICE))
    return Inputs(list(wide[:, :, :num_heads]), pool, batch)


def prepare(workload: Workload, config: DecodeConfig | None = None) -> Prepared:
    inputs = make_inputs(workload)
    num_sequences, num_heads, head_dim = inputs.queries[0].shape
    shape = DecodeShape(
        max_sequences=num_sequences,
        num_heads=num_heads,
        num_kv_heads=NUM_KV_HEADS,
        head_dim=head_dim,
        kv_dtype=workload.kv_dtype,
        device=DEVICE,
        window=workload.window,
    )
    work = DecodeWork.allocate(shape, config)
    plan_decode(inputs.batch, work)

    def call_of(layer: int) -> Callable[[], torch.Tensor]:
        query = inputs.queries[layer]
        output = torch.empty(
            (num_sequences, num_heads * head_dim), dtype=query.dtype, device=DEVICE
        )

        def call() -> torch.Tensor:
            decode_attention(query, inputs.pool, layer, inputs.batch, work, workload.params, output)
            return output

        return call

    calls = [call_of(layer) for layer in range(len(inputs.queries))]
    return Prepared(calls, error_ratio(calls[0](), inputs, workload), workload.num_bytes)


def prepare_against(peer: Workload, workload: Workload) -> Prepared:
    """`workload`, with the seconds of `peer` as its work."""
    peer_seconds = median_seconds(prepare(peer).calls)
    return replace(prepare(workload), work=peer_seconds)


def error_ratio(output: torch.Tensor, inputs: Inputs, workload: Workload) -> float:
    """The worst of some sequences of layer 0: our error over that of torch in bfloat16."""
    ratios = []
    for sequence in range(min(NUM_CHECKED_SEQUENCES, output.shape[0])):
        query = inputs.queries[0][sequence][None, :, None]  # [1, heads, 1, head_dim]
        length = workload.context_lens[sequence]
        ids = inputs.batch.block_tables[sequence, : -(-length // workload.block_size)].long()
        # [k/v, kv_head, token, head_dim]
        context = inputs.pool[ids, 0].to(torch.bfloat16).permute(1, 2, 0, 3, 4).flatten(2, 3)
        keys, values = context[:, None, :, max(0, length - (workload.window or length)) : length]
        exact = textbook(query.double(), keys.double(), values.double(), workload)
        peer_error = (textbook(query, keys, values, workload) - exact).norm()
        ratios.append(float((output[sequence] - exact.flatten()).norm() / peer_error))
    return max(ratios)


def textbook(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, workload: Workload
) -> torch.Tensor:
    """[1, heads, 1, head_dim] in the type of its arguments."""
    scale, softcap = workload.params.scale, workload.softcap
    if softcap is None:
        return F.scaled_dot_product_attention(query, keys, values, scale=scale, enable_gqa=True)
    keys = keys.repeat_interleave(workload.group, 1)
    scores = softcap * torch.tanh(query @ keys.transpose(2, 3) * scale / softcap)
    return scores.softmax(3) @ values.repeat_interleave(workload.group, 1)


LARGE = uniform(64, 4096)
SKEWED = replace(LARGE, context_lens=(131072, 65536) + (1064, 1024) * 31)
SHARES = [
    ("b=64 ctx 4k, GQA 4:1", LARGE, 88, 95),
    ("b=64 ctx 4k, GQA 8:1", replace(LARGE, group=8), 88, 95),
    ("b=8 ctx 4k", uniform(8, 4096), 65, 75),
    ("b=8 ctx 32k", uniform(8, 32768), 85, 92),
    ("b=256 ctx 576", uniform(256, 576), None, None),
    ("b=64 ctx 4k, head_dim 64", replace(LARGE, head_dim=64), None, None),
    ("b=64 ctx 4k, head_dim 96", replace(LARGE, head_dim=96), None, None),
    ("b=64 ctx 4k, head_dim 256", replace(LARGE, head_dim=256), None, None),
]
TIMES = [
    ("b=1 ctx 512", uniform(1, 512), None, 5),
    ("b=1 ctx 4k", uniform(1, 4096), 16, 12),
    ("b=1 ctx 4k, GQA 8:1", replace(uniform(1, 4096), group=8), 16, 12),
    ("b=1 ctx 32k", uniform(1, 32768), 50, 42),
    ("b=1 ctx 128k", uniform(1, 131072), None, None),
]
RATIOS = [
    ("fp8 against bf16", replace(LARGE, kv_dtype=FP8), LARGE, 1.6, 1.85),
    ("blocks of 16 against 64", replace(LARGE, block_size=16), LARGE, 0.91, 0.96),
    ("skewed against uniform", SKEWED, uniform(64, sum(SKEWED.context_lens) // 64), 0.83, 0.93),
    ("window 4k of 8k", replace(uniform(64, 8192), window=4096), LARGE, 0.93, 0.97),
    ("softcap", replace(LARGE, softcap=50.0), LARGE, 0.93, 0.97),
]
CASES = [
    *(
        KernelCase(f"decode attention, {name}", unit, partial(prepare, workload), must, aim)
        for unit, rows in ((Unit.READ_SHARE, SHARES), (Unit.MICROSECONDS, TIMES))
        for name, workload, must, aim in rows
    ),
    *(
        KernelCase(
            f"decode attention, {name}",
            Unit.SPEEDUP,
            partial(prepare_against, peer, workload),
            must,
            aim,
        )
        for name, workload, peer, must, aim in RATIOS
    ),
]


def tuning_cases() -> list[KernelCase]:
    """The rows that decide, for each of the configurations worth a measurement."""
    in_16_bits = [
        (unit, row, config)
        for unit, row in (
            *((Unit.MICROSECONDS, row) for row in TIMES[:4]),
            (Unit.READ_SHARE, SHARES[2]),
            (Unit.READ_SHARE, SHARES[4]),
        )
        for config in candidates()
    ]
    in_8_bits = [
        (Unit.READ_SHARE, ("b=64 ctx 4k, fp8", replace(LARGE, kv_dtype=FP8), 75, 88), config)
        for config in candidates(FP8)
    ]
    return [
        KernelCase(f"{name}, {config}", unit, partial(prepare, workload, config), must, aim)
        for unit, (name, workload, must, aim), config in (*in_8_bits, *in_16_bits)
    ]
