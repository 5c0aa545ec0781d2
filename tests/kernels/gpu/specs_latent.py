"""Latent attention as DeepSeek-V2-Lite (16 heads) and V3 (128 heads) are served."""

from typing import Any

from triton.experimental.gluon import language as gl

from legato.kernels.gpu.decode_work import DecodeConfig
from legato.kernels.gpu.latent_decode import _latent_decode_kernel
from legato.kernels.gpu.latent_decode_gluon import latent_decode_kernel
from legato.kernels.gpu.latent_gluon_piece import MAX_REGISTERS
from legato.kernels.gpu.latent_input import latent_input_kernel
from legato.kernels.gpu.latent_merge import _latent_merge_kernel
from legato.kernels.gpu.latent_prefill import _latent_prefill_kernel
from legato.kernels.gpu.latent_prefill_gluon import latent_prefill_kernel
from legato.kernels.gpu.latent_shape import (
    LatentShape,
    decode_candidates,
    heads_of_group,
    prefill_candidates,
)
from legato.kernels.gpu.prefill_work import PrefillConfig
from legato.tests.kernels.gpu.compiled import CompileSpec

_COMMON = {
    **dict.fromkeys(("query", "kv_pool", "output"), "*bf16"),
    "block_tables": "*i32",
    **dict.fromkeys(("table_stride", "num_layers", "layer"), "i32"),
    "score_scale": "fp32",
}


def _shape(num_heads: int, rows: int, tile: int) -> LatentShape:
    group = heads_of_group(num_heads)
    return LatentShape(group, num_heads // group, rows, 512, 64, 64, tile)


def decode_spec(num_heads: int, config: DecodeConfig | None = None) -> CompileSpec:
    group = heads_of_group(num_heads)
    config = config or decode_candidates(group)[0]
    return CompileSpec(
        name=f"latent decode {num_heads} heads, {config.tile}x{config.num_stages}",
        kernel=_latent_decode_kernel,
        signature={
            **_COMMON,
            **dict.fromkeys(("items", "spans", "arrivals"), "*i32"),
            **dict.fromkeys(("partial_outputs", "partial_lses"), "*fp32"),
        },
        constants={
            "SHAPE": _shape(num_heads, group, config.tile),
            "LAUNCHES_EARLY": config.launches_early,
        },
        num_warps=config.num_warps,
        num_stages=config.num_stages,
        required=("mma.sync", "cp.async"),
        options={"launch_pdl": config.launches_early, "maxnreg": config.max_registers},
    )


def prefill_spec(num_heads: int, config: PrefillConfig | None = None) -> CompileSpec:
    config = config or prefill_candidates()[0]
    return CompileSpec(
        name=f"latent prefill {num_heads} heads, {config.block_n}x{config.num_stages}",
        kernel=_latent_prefill_kernel,
        signature={**_COMMON, "tiles": "*i32"},
        constants={"SHAPE": _shape(num_heads, config.block_m, config.block_n)},
        num_warps=config.num_warps,
        num_stages=config.num_stages,
        required=("wgmma", "cp.async"),
    )


def _specialized_spec(name: str, kernel: Any, **constants: int) -> CompileSpec:
    layout = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=2)
    integers = ("items", "spans", "tiles", "num_tiles", "context_lens")
    return CompileSpec(
        name=f"specialized latent {name}",
        kernel=kernel,
        signature={
            **_COMMON,
            "pool_desc": f"tensordesc<bf16[64, 64],{layout!r}>",
            **dict.fromkeys(integers, "*i32"),
            **dict.fromkeys(("partial_outputs", "partial_lses"), "*fp32"),
        },
        constants={**constants, "BLOCK_SIZE": 64},
        required=("wgmma", "setmaxnreg", "cp.async.bulk.tensor"),
        options={"maxnreg": MAX_REGISTERS},
    )


_INPUT_TYPES = dict.fromkeys(
    ("turned", "stored", "query", "cosines", "sines", "norm_weight", "kv_pool"), "*bf16"
)
SPECS = [
    decode_spec(16),
    decode_spec(128),
    prefill_spec(16),
    prefill_spec(128),
    _specialized_spec("decode", latent_decode_kernel, NUM_GROUPS=2),
    _specialized_spec("prefill", latent_prefill_kernel, GROUP=16, NUM_GROUPS=1),
    CompileSpec(
        name="latent merge",
        kernel=_latent_merge_kernel,
        signature={
            "output": "*bf16",
            **dict.fromkeys(("items", "spans"), "*i32"),
            **dict.fromkeys(("partial_outputs", "partial_lses"), "*fp32"),
        },
        constants={"SHAPE": LatentShape(64, 2, 64, 512, 64, 64, 64)},
        num_warps=8,
    ),
    CompileSpec(
        name="latent input",
        kernel=latent_input_kernel,
        signature={
            **_INPUT_TYPES,
            "slots": "*i64",
            "eps": "fp32",
            **dict.fromkeys(("num_tokens", "layer"), "i32"),
            **dict.fromkeys(("turned_token_stride", "turned_head_stride", "stored_stride"), "i32"),
        },
        constants={
            "NUM_HEADS": 16,
            "LATENT_DIM": 512,
            "HALF": 32,
            "NUM_LAYERS": 27,
            "BLOCK_SIZE": 64,
            "ROWS": 32,
            "BLOCK_LATENT": 512,
            "BLOCK_HALF": 32,
            "IS_EARLY": True,
        },
        multiples_of_16=("turned_token_stride", "turned_head_stride", "stored_stride"),
        options={"launch_pdl": True},
    ),
]
