"""Prefill attention: whole prompts, chunks on a cached prefix, and short prompts.

`candidates()` is what is worth timing on a GPU that is not known yet: `tuning_cases()` are the
rows of the table for each of them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from legato.kernels.attention_params import AttentionParams
from legato.kernels.gpu.attention_batch import AttentionBatch
from legato.kernels.gpu.prefill_attention import choose_config, prefill_attention
from legato.kernels.gpu.prefill_work import PrefillConfig, PrefillWork, plan_prefill
from legato.tests.benchmarks.gpu_timing import num_cold_copies
from legato.tests.benchmarks.kernel_case import KernelCase, Prepared, Unit

DEVICE = torch.device("cuda")
NUM_HEADS, NUM_KV_HEADS, BLOCK_SIZE = 32, 8, 64
NUM_CHECKED_QUERIES = 512


@dataclass(frozen=True, slots=True)
class Workload:
    """Equal sequences, and the model's attention."""

    num_sequences: int
    query_len: int
    context_len: int
    head_dim: int = 128
    pool_dtype: torch.dtype = torch.bfloat16
    window: int | None = None
    softcap: float | None = None

    @property
    def num_rows(self) -> int:
        return self.num_sequences * self.query_len

    @property
    def params(self) -> AttentionParams:
        return AttentionParams(self.head_dim**-0.5, self.window, self.softcap)

    @property
    def flop(self) -> float:
        """Of the products of queries with the keys that they see, and of weights with values."""
        positions = range(self.context_len - self.query_len, self.context_len)
        visible = sum(min(position + 1, self.window or self.context_len) for position in positions)
        return 4 * self.num_sequences * visible * NUM_HEADS * self.head_dim


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Copies of the same work: copy i is layer i of the pool, and query i."""

    queries: list[torch.Tensor]
    pool: torch.Tensor
    batch: AttentionBatch


def make_inputs(workload: Workload) -> Inputs:
    num_blocks = workload.num_sequences * -(-workload.context_len // BLOCK_SIZE)
    one_layer = (2, NUM_KV_HEADS, BLOCK_SIZE, workload.head_dim)
    num_elements = num_blocks * one_layer[0] * one_layer[1] * one_layer[2] * one_layer[3]
    copies = num_cold_copies(num_elements * workload.pool_dtype.itemsize)
    pool = torch.randn((num_blocks, copies, *one_layer), device=DEVICE, dtype=torch.bfloat16)
    row = (NUM_HEADS + 2 * NUM_KV_HEADS, workload.head_dim)
    wide = torch.randn((copies, workload.num_rows, *row), device=DEVICE, dtype=torch.bfloat16)
    starts = torch.arange(workload.num_sequences + 1, device=DEVICE) * workload.query_len
    lens = torch.full((workload.num_sequences,), workload.context_len, device=DEVICE)
    tables = torch.randperm(num_blocks, device=DEVICE).view(workload.num_sequences, -1)
    return Inputs(
        queries=list(wide[:, :, :NUM_HEADS]),
        pool=pool.to(workload.pool_dtype),
        batch=AttentionBatch(starts.int(), lens.int(), tables.int()),
    )


def prepare(workload: Workload, config: PrefillConfig | None = None) -> Prepared:
    inputs = make_inputs(workload)
    config = config or choose_config(workload.num_rows, NUM_HEADS, inputs.pool)
    group_size = NUM_HEADS // NUM_KV_HEADS
    work = PrefillWork.allocate(
        workload.num_sequences, workload.num_rows, group_size, config, DEVICE
    )
    plan_prefill(inputs.batch, work)
    output = torch.empty_like(inputs.queries[0]).view(workload.num_rows, -1)

    def call_of(layer: int) -> Callable[[], object]:
        query, params = inputs.queries[layer], workload.params
        return lambda: prefill_attention(
            query, inputs.pool, layer, inputs.batch, work, params, output
        )

    calls = [call_of(layer) for layer in range(len(inputs.queries))]
    calls[0]()
    return Prepared(calls, error_ratio(workload, inputs, output), workload.flop)


def error_ratio(workload: Workload, inputs: Inputs, output: torch.Tensor) -> float | None:
    """Of the last queries of the last sequence and the last key head, layer 0.

    None where torch has no such op in bfloat16: with a softcap, or keys of 8 bits.
    """
    if workload.softcap is not None or workload.pool_dtype is not torch.bfloat16:
        return None
    num_queries = min(workload.query_len, NUM_CHECKED_QUERIES)
    group_size = NUM_HEADS // NUM_KV_HEADS
    blocks = inputs.pool[inputs.batch.block_tables[-1].long(), 0, :, -1]
    keys, values = blocks.transpose(0, 1).reshape(2, -1, workload.head_dim)
    keys, values = keys[: workload.context_len], values[: workload.context_len]
    query = inputs.queries[0][-num_queries:, -group_size:].transpose(0, 1)
    actual = output.view(workload.num_rows, NUM_HEADS, -1)[-num_queries:, -group_size:]
    position = torch.arange(workload.context_len, device=DEVICE)
    distance = position[-num_queries:, None] - position
    mask = (distance >= 0) & (distance < (workload.window or workload.context_len))

    def textbook(dtype: torch.dtype) -> torch.Tensor:
        key, value = (x.to(dtype).expand(group_size, -1, -1) for x in (keys, values))
        return F.scaled_dot_product_attention(query.to(dtype), key, value, attn_mask=mask)

    exact = textbook(torch.float64)
    ours = (actual.transpose(0, 1).double() - exact).abs().mean()
    return float(ours / (textbook(torch.bfloat16).double() - exact).abs().mean())


def candidates() -> list[PrefillConfig]:
    """For heads of 64 to 128."""
    tiles = [(128, 64, 2), (128, 64, 3), (128, 64, 4), (128, 128, 2), (64, 64, 2), (64, 64, 3)]
    plain = [PrefillConfig(m, n, m // 16, stages) for m, n, stages in tiles]
    return plain + [PrefillConfig(num_slots=slots) for slots in (2, 3)]


def _case(
    name: str, workload: Workload, must: float | None = None, aim: float | None = None
) -> KernelCase:
    return KernelCase(
        f"prefill attention, {name}", Unit.TFLOPS, lambda: prepare(workload), must, aim
    )


def tuning_cases() -> list[KernelCase]:
    """All candidates on a long prompt, a chunk and a short prompt."""
    workloads = [Workload(4, 4096, 4096), Workload(1, 2048, 18432), Workload(1, 128, 128)]
    return [
        KernelCase(
            f"{workload.query_len} on {workload.context_len}, {config}",
            Unit.TFLOPS,
            lambda workload=workload, config=config: prepare(workload, config),  # type: ignore[misc]
        )
        for workload in workloads
        for config in candidates()
    ]


_TWO_K_CHUNK = Workload(1, 2048, 16384 + 2048)

CASES = [
    _case("16 prompts of 1k", Workload(16, 1024, 1024), 230, 350),
    _case("4 prompts of 4k", Workload(4, 4096, 4096), 370, 560),
    _case("2 prompts of 8k", Workload(2, 8192, 8192), 400, 620),
    _case("2k chunk on 16k", _TWO_K_CHUNK, 380, 560),
    _case("8k, window of 1k", Workload(2, 8192, 8192, window=1024)),
    _case("8k, softcap", Workload(2, 8192, 8192, softcap=50.0)),
    _case("8k, keys of 8 bits", Workload(2, 8192, 8192, pool_dtype=torch.float8_e4m3fn)),
    _case("8k, head of 64", Workload(2, 8192, 8192, head_dim=64)),
    _case("8k, head of 256", Workload(2, 8192, 8192, head_dim=256)),
    KernelCase(
        "prefill attention, a prompt of 128",
        Unit.MICROSECONDS,
        lambda: prepare(Workload(1, 128, 128)),
    ),
    KernelCase(
        "prefill attention, 64 queries on 16k",
        Unit.MICROSECONDS,
        lambda: prepare(Workload(1, 64, 16384 + 64)),
    ),
]
