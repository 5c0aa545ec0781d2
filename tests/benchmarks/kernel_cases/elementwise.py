"""What lies between the products and attention: norms, activations, rotation with the KV write.

`tuning_cases()` are the rows of the table for each configuration that is worth timing on a GPU
that is not known yet: `candidates()`.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F

from legato.kernels import attention_input as torch_attention_input
from legato.kernels import rotary as torch_rotary
from legato.kernels.attention_input import QKNorm
from legato.kernels.attention_params import AttentionParams
from legato.kernels.gpu.activation import ActivationConfig, silu_and_mul
from legato.kernels.gpu.attention_batch import AttentionBatch
from legato.kernels.gpu.attention_input import AttentionInputConfig, rotate_and_write
from legato.kernels.gpu.block_copy import DEFAULT_CONFIG, BlockCopyConfig, copy_blocks
from legato.kernels.gpu.norm import NormConfig, add_rms_norm, rms_norm
from legato.kernels.gpu.rotary import rotary_tables
from legato.kernels.gpu.step_rows import plan_rows
from legato.tests.benchmarks.gpu_timing import num_cold_copies
from legato.tests.benchmarks.kernel_case import KernelCase, Prepared, Unit

DEVICE, DTYPE = torch.device("cuda"), torch.bfloat16
HIDDEN, INTERMEDIATE = 4096, 14336
NUM_HEADS, NUM_KV_HEADS, HEAD_DIM, BLOCK_SIZE = 32, 8, 128, 64
NUM_LAYERS, NUM_BLOCKS = 8, 160  # of the pool that is written: 335 MB
EPS = 1e-5
MAX_COPIES = 256  # so many calls fit into a graph that is captured quickly

Config = NormConfig | ActivationConfig | AttentionInputConfig | BlockCopyConfig


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, device=DEVICE).to(DTYPE)


def num_copies(num_bytes: int) -> int:
    return min(num_cold_copies(num_bytes), MAX_COPIES)


def error_ratio(ours: torch.Tensor, theirs: torch.Tensor, exact: torch.Tensor) -> float:
    """Our root mean square error over torch's."""
    return float((ours.double() - exact).norm() / (theirs.double() - exact).norm())


def prepare_norm(num_rows: int, config: NormConfig | None = None) -> Prepared:
    weight, sample = random(HIDDEN), random(num_rows, HIDDEN)
    exact = F.rms_norm(sample.double(), weight.shape, weight.double(), EPS)
    theirs = F.rms_norm(sample, weight.shape, weight, EPS)
    ratio = error_ratio(rms_norm(sample, weight, EPS, config=config), theirs, exact)
    inputs = [random(num_rows, HIDDEN) for _ in range(num_copies(2 * sample.nbytes))]
    calls = [partial(rms_norm, x, weight, EPS, config=config) for x in inputs]
    return Prepared(calls, ratio, 2 * sample.nbytes)


def prepare_add_norm(num_rows: int, config: NormConfig | None = None) -> Prepared:
    weight, x, residual = random(HIDDEN), random(num_rows, HIDDEN), random(num_rows, HIDDEN)
    total = x + residual
    exact = F.rms_norm(total.double(), weight.shape, weight.double(), EPS)
    theirs = F.rms_norm(total, weight.shape, weight, EPS)
    ratio = error_ratio(add_rms_norm(x, residual, weight, EPS, config=config), theirs, exact)
    assert torch.equal(residual, total)
    inputs = [
        (random(num_rows, HIDDEN), random(num_rows, HIDDEN))
        for _ in range(num_copies(4 * x.nbytes))
    ]
    calls = [partial(add_rms_norm, *pair, weight, EPS, config=config) for pair in inputs]
    return Prepared(calls, ratio, 4 * x.nbytes)


def prepare_activation(num_tokens: int, config: ActivationConfig | None = None) -> Prepared:
    sample = random(num_tokens, 2 * INTERMEDIATE)
    gate, up = sample.chunk(2, dim=-1)
    exact = F.silu(gate.double()) * up.double()
    ratio = error_ratio(silu_and_mul(sample, config=config), F.silu(gate) * up, exact)
    num_bytes = 3 * num_tokens * INTERMEDIATE * DTYPE.itemsize
    inputs = [random(num_tokens, 2 * INTERMEDIATE) for _ in range(num_copies(num_bytes))]
    calls = [partial(silu_and_mul, gate_up, config=config) for gate_up in inputs]
    return Prepared(calls, ratio, num_bytes)


def prepare_attention_input(
    num_tokens: int, has_norm: bool = False, config: AttentionInputConfig | None = None
) -> Prepared:
    def make_qkv() -> torch.Tensor:
        return random(num_tokens, NUM_HEADS + 2 * NUM_KV_HEADS, HEAD_DIM)

    def make_slots() -> torch.Tensor:
        return torch.randperm(NUM_BLOCKS * BLOCK_SIZE, device=DEVICE)[:num_tokens]

    pool = random(NUM_BLOCKS, NUM_LAYERS, 2, NUM_KV_HEADS, BLOCK_SIZE, HEAD_DIM)
    frequencies = 500_000 ** -(torch.arange(HEAD_DIM // 2, device=DEVICE) / (HEAD_DIM // 2))
    positions = torch.randint(0, 8192, (num_tokens,), device=DEVICE)
    rotary = rotary_tables(positions, frequencies, 1.0, DTYPE)
    qk_norm = QKNorm(random(HEAD_DIM), random(HEAD_DIM), EPS) if has_norm else None
    run = partial(rotate_and_write, params=AttentionParams(scale=1.0), config=config)
    calls = [
        partial(run, make_qkv(), rotary, qk_norm, pool, copy % NUM_LAYERS, make_slots())
        for copy in range(num_copies(2 * make_qkv().nbytes))
    ]

    def result(function: Callable[..., None], dtype: torch.dtype) -> torch.Tensor:
        """Queries, then keys and values as they are stored."""
        norm = qk_norm and QKNorm(qk_norm.query_weight.to(dtype), qk_norm.key_weight.to(dtype), EPS)
        tables = rotary[0].to(dtype), rotary[1].to(dtype)
        computed, target = sample.to(dtype, copy=True), pool[:, :1].to(dtype).contiguous()
        function(computed, tables, norm, target, 0, slots, AttentionParams(scale=1.0))
        stored = target[slots // BLOCK_SIZE, 0, :, :, slots % BLOCK_SIZE].flatten(1, 2)
        return torch.cat((computed[:, :NUM_HEADS], stored), dim=1)

    sample, slots = make_qkv(), make_slots()
    ours = result(partial(rotate_and_write, config=config), DTYPE)
    theirs = result(torch_attention_input.rotate_and_write, DTYPE)
    exact = result(torch_attention_input.rotate_and_write, torch.float64)
    return Prepared(calls, error_ratio(ours, theirs, exact), 2 * sample.nbytes)


def prepare_rotary_tables(num_tokens: int) -> Prepared:
    frequencies = torch.rand(HEAD_DIM // 2, device=DEVICE)
    positions = torch.randint(0, 100_000, (num_tokens,), device=DEVICE)
    exact = torch_rotary.rotary_tables(positions, frequencies, 1.0, torch.float64)
    theirs = torch_rotary.rotary_tables(positions, frequencies, 1.0, DTYPE)
    ours = rotary_tables(positions, frequencies, 1.0, DTYPE)
    ratio = error_ratio(torch.cat(ours), torch.cat(theirs), torch.cat(exact))
    call = partial(rotary_tables, positions, frequencies, 1.0, DTYPE)
    return Prepared([call] * 8, ratio)


def prepare_rows(num_sequences: int) -> Prepared:
    """A decode step; each sequence in the middle of its context."""
    context_lens = torch.randint(1, 4096, (num_sequences,), device=DEVICE, dtype=torch.int32)
    starts = torch.arange(num_sequences + 1, device=DEVICE, dtype=torch.int32)
    tables = torch.randint(0, 10_000, (num_sequences, 64), device=DEVICE, dtype=torch.int32)
    positions = torch.empty(num_sequences, dtype=torch.int32, device=DEVICE)
    slots = torch.empty(num_sequences, dtype=torch.int64, device=DEVICE)
    call = partial(
        plan_rows, AttentionBatch(starts, context_lens, tables), BLOCK_SIZE, positions, slots
    )
    call()
    last = (context_lens - 1).long()
    blocks = tables.gather(1, last[:, None] // BLOCK_SIZE)[:, 0]
    assert torch.equal(positions.long(), last)
    assert torch.equal(slots, blocks * BLOCK_SIZE + last % BLOCK_SIZE)
    return Prepared([call] * 8, None)


def prepare_block_copy(num_copied: int, config: BlockCopyConfig = DEFAULT_CONFIG) -> Prepared:
    shape = (2 * num_copied, 32, 2, NUM_KV_HEADS, BLOCK_SIZE, HEAD_DIM)
    pool = torch.randint(0, 100, shape, device=DEVICE, dtype=torch.int16).view(DTYPE)
    ids = torch.randperm(2 * num_copied, device=DEVICE).view(2, num_copied)
    copy_blocks(pool, pool, ids[0], ids[1], config=config)
    assert torch.equal(pool[ids[1]].view(torch.int16), pool[ids[0]].view(torch.int16))
    calls = [
        partial(copy_blocks, pool, pool, ids[0], ids[1], config=config),
        partial(copy_blocks, pool, pool, ids[1], ids[0], config=config),
    ]
    return Prepared(calls, None, 2 * num_copied * pool[0].nbytes)


def candidates() -> dict[Callable[..., Prepared], list[Config]]:
    """What is worth timing on a GPU that is not known yet, for each kernel."""
    blocks = ((1024, 4), (2048, 4), (2048, 8), (4096, 4), (4096, 8), (8192, 8))
    rows = ((4, 1), (8, 2), (16, 2), (16, 4), (32, 4), (64, 4), (64, 8))
    pieces = ((1024, 4), (2048, 4), (2048, 8), (4096, 8))
    norms: list[Config] = [NormConfig(num_warps) for num_warps in (4, 8, 16)]
    return {
        prepare_norm: norms,
        prepare_add_norm: norms,
        prepare_activation: [ActivationConfig(*sizes) for sizes in blocks],
        prepare_attention_input: [AttentionInputConfig(*sizes) for sizes in rows],
        prepare_block_copy: [BlockCopyConfig(*sizes) for sizes in pieces],
    }


def _us(name: str, prepare: partial[Prepared], must: float | None, aim: float | None) -> KernelCase:
    return KernelCase(name, Unit.MICROSECONDS, prepare, must, aim)


def _share(
    name: str, prepare: partial[Prepared], must: float | None, aim: float | None
) -> KernelCase:
    return KernelCase(name, Unit.COPY_SHARE, prepare, must, aim)


CASES = [
    *(_us(f"RMSNorm + residual, m={m}", partial(prepare_add_norm, m), 3.5, 2.5) for m in (1, 64)),
    _us("RMSNorm, m=64", partial(prepare_norm, 64), 3.5, 2.5),
    _share("RMSNorm + residual, m=4096", partial(prepare_add_norm, 4096), 75, 88),
    _share("RMSNorm + residual, m=16384", partial(prepare_add_norm, 16384), 75, 88),
    _share("RMSNorm, m=8192", partial(prepare_norm, 8192), 75, 88),
    _us("SiLU-mul, m=64", partial(prepare_activation, 64), None, None),
    _share("SiLU-mul, m=2048", partial(prepare_activation, 2048), 82, 92),
    _share("SiLU-mul, m=8192", partial(prepare_activation, 8192), 82, 92),
    *(
        _us(f"rope + KV write, m={m}", partial(prepare_attention_input, m), 6, 4)
        for m in (1, 64, 256)
    ),
    _us("QK-norm + rope + KV write, m=256", partial(prepare_attention_input, 256, True), 6, 4),
    _share("rope + KV write, m=8192", partial(prepare_attention_input, 8192), 70, 85),
    _share(
        "QK-norm + rope + KV write, m=8192", partial(prepare_attention_input, 8192, True), 70, 85
    ),
    _us("rotary tables, m=256", partial(prepare_rotary_tables, 256), None, None),
    _us("rows of a decode step, b=256", partial(prepare_rows, 256), None, None),
    _share("block copy, 32 x 8 MiB", partial(prepare_block_copy, 32), 80, 90),
]


def tuning_cases() -> list[KernelCase]:
    """The rows of the table with each candidate."""
    found = candidates()
    return [
        KernelCase(f"{case.name}, {config}", case.unit, partial(case.prepare, config=config))
        for case in CASES
        if isinstance(case.prepare, partial)
        for config in found.get(case.prepare.func, [])
    ]
