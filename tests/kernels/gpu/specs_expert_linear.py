"""Products of experts as serving launches them, in bf16: Mixtral 8x7B's, and gpt-oss'."""

from legato.kernels.gpu.expert_linear import expert_linear_kernel
from legato.kernels.gpu.experts_config import ProductShape, choose_config
from legato.tests.kernels.gpu.compiled import CompileSpec


def _product(
    name: str, rows: int, inputs: int, block_pairs: int, is_gated: bool, has_bias: bool = False
) -> CompileSpec:
    is_clamped = is_gated and has_bias
    config = choose_config(ProductShape(rows, inputs, block_pairs, is_gated), 2, {})
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
            "x_stride": "i32",
        },
        {
            "NUM_ROWS": rows,
            "NUM_INPUTS": inputs,
            "PAIRS_PER_ROW": 2 if is_gated else 1,
            "IS_GATED": is_gated,
            "LIMIT": 7.0 if is_clamped else None,
            "SLOPE": 1.702 if is_clamped else 1.0,
            **({} if has_bias else {"bias_ptr": None}),
            "BLOCK_PAIRS": block_pairs,
            "BLOCK_ROWS": config.block_rows,
            "BLOCK_INPUTS": config.block_inputs,
            "GROUP_TILES": config.group_tiles,
            "PREFETCH_INPUTS": 0 if is_gated or block_pairs > 64 or inputs % 256 else 256,
            "IS_EARLY": True,
        },
        num_warps=config.num_warps,
        num_stages=config.num_stages,
        multiples_of_16=("x_stride",),
        required=("wgmma.mma_async",),
        options={"launch_pdl": True},
    )


SPECS = [
    *(_product("gate and up", 28672, 4096, pairs, True) for pairs in (16, 64, 128)),
    *(_product("down", 4096, 14336, pairs, False) for pairs in (16, 128)),
    _product("gate and up with biases, clamped", 5760, 2880, 64, True, has_bias=True),
    _product("down with biases", 2880, 2880, 16, False, has_bias=True),
]
