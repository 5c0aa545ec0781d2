from dataclasses import dataclass

import pytest
import torch

from legato.kernels import attention_input as twin
from legato.kernels.attention_input import QKNorm
from legato.kernels.attention_params import AttentionParams
from legato.kernels.gpu.attention_input import (
    AttentionInputConfig,
    choose_config,
    rotate_and_write,
)
from legato.kernels.rotary import rotary_tables
from legato.tests.kernels.gpu.device import DEVICE, DTYPES, TOLERANCES

LAYER, NUM_LAYERS, NUM_BLOCKS = 1, 3, 6
PLAIN = AttentionParams(scale=1.0)
CONFIGS = [None, *(AttentionInputConfig(rows, num_warps) for rows, num_warps in ((1, 1), (64, 8)))]


@dataclass(frozen=True, slots=True)
class Shape:
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rotary_dim: int
    block_size: int
    has_norm: bool = False


SHAPES = [
    Shape(8, 2, 128, 128, 64),
    Shape(7, 1, 64, 64, 16, has_norm=True),
    Shape(3, 3, 96, 96, 8),
    Shape(4, 2, 80, 20, 4, has_norm=True),
    Shape(4, 2, 6, 2, 16),
]


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    qkv: torch.Tensor
    rotary: tuple[torch.Tensor, torch.Tensor]
    qk_norm: QKNorm | None
    pool: torch.Tensor
    slots: torch.Tensor

    def double(self) -> "Inputs":
        norm = self.qk_norm and QKNorm(
            self.qk_norm.query_weight.double(), self.qk_norm.key_weight.double(), self.qk_norm.eps
        )
        cosines, sines = (table.double() for table in self.rotary)
        return Inputs(self.qkv.double(), (cosines, sines), norm, self.pool.double(), self.slots)


def make_inputs(
    shape: Shape, num_tokens: int, dtype: torch.dtype, pool_dtype: torch.dtype | None = None
) -> Inputs:
    """Tokens at random slots of their own; every third one is padding."""

    def random(*sizes: int) -> torch.Tensor:
        return torch.randn(sizes, device=DEVICE).to(dtype)

    num_all_heads = shape.num_heads + 2 * shape.num_kv_heads
    pool_shape = (NUM_BLOCKS, NUM_LAYERS, 2, shape.num_kv_heads, shape.block_size, shape.head_dim)
    positions = torch.randint(0, 5000, (num_tokens,), device=DEVICE)
    frequencies = torch.rand(shape.rotary_dim // 2, device=DEVICE)
    slots = torch.randperm(NUM_BLOCKS * shape.block_size, device=DEVICE)[:num_tokens]
    slots[2::3] = -1
    weights = random(shape.head_dim), random(shape.head_dim)
    return Inputs(
        qkv=random(num_tokens, num_all_heads, shape.head_dim),
        rotary=rotary_tables(positions, frequencies, 1.0, dtype),
        qk_norm=QKNorm(*weights, 1e-5) if shape.has_norm else None,
        pool=random(*pool_shape).to(pool_dtype or dtype),
        slots=slots,
    )


def run(inputs: Inputs, params: AttentionParams, config: AttentionInputConfig | None) -> None:
    rotate_and_write(
        inputs.qkv,
        inputs.rotary,
        inputs.qk_norm,
        inputs.pool,
        LAYER,
        inputs.slots,
        params,
        config=config,
    )


def run_twin(inputs: Inputs, params: AttentionParams) -> None:
    twin.rotate_and_write(
        inputs.qkv, inputs.rotary, inputs.qk_norm, inputs.pool, LAYER, inputs.slots, params
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("num_tokens", [1, 13])
@pytest.mark.parametrize("shape", SHAPES)
def test_queries_and_pool_are_those_of_the_twin(
    shape: Shape, num_tokens: int, dtype: torch.dtype
) -> None:
    inputs = make_inputs(shape, num_tokens, dtype)
    wanted = inputs.double()
    run_twin(wanted, PLAIN)
    run(inputs, PLAIN, AttentionInputConfig(rows=4, num_warps=1))
    tolerance = TOLERANCES[dtype] * 2  # values of up to four times the usual ones
    queries, wanted_queries = (one.qkv[:, : shape.num_heads] for one in (inputs, wanted))
    torch.testing.assert_close(queries.double(), wanted_queries, atol=tolerance, rtol=tolerance)
    # The pool includes all that must not change: other layers, other slots, padding.
    torch.testing.assert_close(inputs.pool.double(), wanted.pool, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("config", CONFIGS)
def test_the_configuration_changes_no_value(config: AttentionInputConfig | None) -> None:
    shape = Shape(5, 2, 64, 64, 16, has_norm=True)
    inputs = make_inputs(shape, 9, torch.float32)
    wanted = inputs.double()
    run_twin(wanted, PLAIN)
    run(inputs, PLAIN, config)
    torch.testing.assert_close(inputs.pool.double(), wanted.pool, atol=1e-5, rtol=1e-5)


def test_pools_of_eight_bits_get_scaled_and_saturated_values() -> None:
    shape, params = Shape(2, 2, 16, 16, 4), AttentionParams(1.0, None, None, 0.5, 4.0)
    inputs = make_inputs(shape, 5, torch.float16, torch.float8_e4m3fn)
    # Exact in 8 bits, as the interpreter's rounding is not a GPU's; 384 / 0.5 is too large.
    exact = torch.tensor([0.0, 1.0, -1.5, 384.0, -384.0, 26.0, 0.25, 3.0], dtype=torch.float16)
    inputs.qkv.copy_(exact.to(DEVICE).repeat(2))
    inputs.rotary[0].fill_(1.0)
    inputs.rotary[1].fill_(0.0)
    wanted = inputs.pool.clone()
    twin.rotate_and_write(
        inputs.qkv.clone(), inputs.rotary, None, wanted, LAYER, inputs.slots, params
    )
    run(inputs, params, None)
    assert torch.equal(inputs.pool.float(), wanted.float())
    assert int((wanted.float().abs() == 448).sum()) >= 4


@pytest.mark.gpu
def test_eight_bits_are_the_nearest() -> None:
    shape, params = Shape(8, 2, 128, 128, 64), AttentionParams(1.0, None, None, 0.01, 0.02)
    inputs = make_inputs(shape, 100, torch.bfloat16, torch.float8_e4m3fn)
    wanted = inputs.double()
    run_twin(wanted, PLAIN)
    run(inputs, params, None)
    used = inputs.slots[inputs.slots >= 0]
    blocks, offsets = used // 64, used % 64
    for index, scale in enumerate((params.key_scale, params.value_scale)):
        actual = inputs.pool[blocks, LAYER, index, :, offsets].double()
        nearest = (wanted.pool[blocks, LAYER, index, :, offsets] / scale).clamp(-448, 448)
        torch.testing.assert_close(actual, nearest, atol=2**-9, rtol=0.066)


@pytest.mark.gpu
def test_a_graph_replays_with_other_slots() -> None:
    shape = Shape(8, 2, 128, 128, 64)
    inputs = make_inputs(shape, 8, torch.bfloat16)
    source = inputs.qkv.clone()
    run(inputs, PLAIN, None)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        inputs.qkv.copy_(source)
        run(inputs, PLAIN, None)
    inputs.slots.copy_(inputs.slots.flip(0))
    wanted = inputs.pool.clone()
    twin.rotate_and_write(source.clone(), inputs.rotary, None, wanted, LAYER, inputs.slots, PLAIN)
    graph.replay()
    torch.testing.assert_close(inputs.pool, wanted, atol=3e-2, rtol=3e-2)


def test_prefills_take_more_rows_a_program() -> None:
    assert choose_config(8192).rows > choose_config(64).rows
