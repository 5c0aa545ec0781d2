"""Products of experts as serving launches them, in bf16: Mixtral 8x7B's, Qwen3-30B-A3B's, and
gpt-oss'."""

from legato.kernels.gpu.expert_linear import expert_linear_kernel
from legato.kernels.gpu.experts_config import ProductShape, choose_config
from legato.kernels.gpu.experts_table import TABLE
from legato.tests.kernels.gpu.compiled import CompileSpec


def _product(
    name: str,
    shape: ProductShape,
    has_bias: bool = False,
) -> CompileSpec:
    is_gated, block_pairs = shape.is_gated, shape.block_pairs
    is_clamped = is_gated and has_bias
    config = choose_config(shape, 2, TABLE)
    return CompileSpec(
        f"{name}, tiles of {block_pairs}",
        expert_linear_kernel,
        {
            "x_ptr": "*bf16",
            "weight_ptr": "*bf16",
            "bias_ptr": "*bf16",
            "out_ptr": "*bf16",
            "pairs_ptr": "*i32",
            "tiles_ptr": "*i32",
            "num_tiles_ptr": "*i32",
            "most_tiles": "i32",
            "x_stride": "i32",
        },
        {
            "NUM_ROWS": shape.num_rows,
            "NUM_INPUTS": shape.num_inputs,
            "PAIRS_PER_ROW": 2 if is_gated else 1,
            "IS_GATED": is_gated,
            "LIMIT": 7.0 if is_clamped else None,
            "SLOPE": 1.702 if is_clamped else 1.0,
            **({} if has_bias else {"bias_ptr": None}),
            "BLOCK_PAIRS": block_pairs,
            "BLOCK_ROWS": config.block_rows,
            "BLOCK_INPUTS": config.block_inputs,
            "GROUP_TILES": config.group_tiles,
            "TAIL_PAIRS": config.tail_pairs,
            "PREFETCH_INPUTS": 256 if not is_gated and block_pairs <= 64 else 0,
            "FOLLOWS_PRODUCT": not is_gated,
            "IS_EARLY": True,
        },
        num_warps=config.num_warps,
        num_stages=config.num_stages,
        multiples_of_16=("x_stride",),
        required=("wgmma.mma_async",),
        options={"launch_pdl": True},
    )


SPECS = [
    *(_product("gate and up", ProductShape(28672, 4096, pairs, True)) for pairs in (16, 64, 128)),
    *(_product("down", ProductShape(4096, 14336, pairs, False)) for pairs in (16, 128)),
    _product("short rows, down", ProductShape(2048, 768, 16, False)),
    _product("short rows, down", ProductShape(2048, 768, 128, False)),
    _product("gate and up with biases, clamped", ProductShape(5760, 2880, 64, True), has_bias=True),
    _product("down with biases", ProductShape(2880, 2880, 16, False), has_bias=True),
]
