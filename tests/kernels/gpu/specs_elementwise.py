"""The elementwise kernels as serving launches them: Llama-8B and models with qk-norm, bf16."""

from collections.abc import Mapping
from typing import Any

from legato.kernels.gpu.activation import gated_kernel
from legato.kernels.gpu.attention_input import rotate_and_write_kernel
from legato.kernels.gpu.block_copy import copy_blocks_kernel
from legato.kernels.gpu.norm import add_normed_kernel, rms_norm_kernel
from legato.kernels.gpu.rotary import rotary_tables_kernel
from legato.kernels.gpu.step_rows import plan_rows_kernel
from legato.tests.kernels.gpu.compiled import CompileSpec

_EARLY = {"launch_pdl": True}
_QKV_SHAPE = {"NUM_HEADS": 32, "NUM_KV_HEADS": 8, "HEAD_DIM": 128, "NUM_LAYERS": 32}
_QKV_TILE = {"BLOCK_SIZE": 64, "BLOCK_HALF": 64, "BLOCK_REST": 1, "IS_EARLY": True}
_QKV_SIGNATURE = {
    "qkv": "*bf16",
    "cosines": "*bf16",
    "sines": "*bf16",
    "query_weight": "*bf16",
    "key_weight": "*bf16",
    "slots": "*i64",
    "num_tokens": "i32",
    "layer": "i32",
    "eps": "fp32",
    "inverse_key_scale": "fp32",
    "inverse_value_scale": "fp32",
}


def _attention_input(
    name: str, pool_type: str, rows: int, changed: Mapping[str, Any]
) -> CompileSpec:
    constants = {**_QKV_SHAPE, **_QKV_TILE, "HALF": 64, "ROWS": rows, **changed}
    signature = {**_QKV_SIGNATURE, "kv_pool": pool_type}
    return CompileSpec(
        name,
        rotate_and_write_kernel,
        signature,
        constants,
        required=("st.global.v4.b32" if pool_type == "*bf16" else "st.global.v2.b32",),
        options=_EARLY,
    )


_NO_NORM = {"query_weight": None, "key_weight": None}

SPECS = [
    CompileSpec(
        "add_rms_norm",
        rms_norm_kernel,
        {
            "x": "*bf16",
            "residual": "*bf16",
            "weight": "*bf16",
            "output": "*bf16",
            "eps": "fp32",
            "x_row_stride": "i32",
            "residual_row_stride": "i32",
        },
        {"DIM": 4096, "BLOCK": 4096, "IS_EARLY": True},
        num_warps=8,
        multiples_of_16=("x_row_stride", "residual_row_stride"),
        required=("ld.global.v4.b32", "st.global.v4.b32"),
        options=_EARLY,
    ),
    CompileSpec(
        "add_normed",
        add_normed_kernel,
        {
            "x": "*bf16",
            "residual": "*bf16",
            "weight": "*fp32",
            "eps": "fp32",
            "x_row_stride": "i32",
            "residual_row_stride": "i32",
        },
        {"DIM": 3584, "BLOCK": 4096, "IS_EARLY": True},
        num_warps=8,
        multiples_of_16=("x_row_stride", "residual_row_stride"),
        required=("ld.global.v4.b32", "st.global.v4.b32"),
        options=_EARLY,
    ),
    CompileSpec(
        "silu_and_mul",
        gated_kernel,
        {"gate_up": "*bf16", "output": "*bf16", "row_stride": "i32"},
        {"DIM": 14336, "BLOCK": 2048, "IS_GELU": False, "IS_EARLY": True},
        multiples_of_16=("row_stride",),
        required=("ld.global.v4.b32", "st.global.v4.b32"),
        options=_EARLY,
    ),
    CompileSpec(
        "rotary_tables",
        rotary_tables_kernel,
        {
            "positions": "*i32",
            "inverse_frequencies": "*fp32",
            "tables": "*bf16",
            "scale": "fp32",
            "num_tokens": "i32",
        },
        {"HALF": 64, "BLOCK_TOKENS": 4, "BLOCK_HALF": 64},
    ),
    _attention_input("attention input, llama", "*bf16", 16, _NO_NORM),
    _attention_input("attention input, qk-norm, prefill", "*bf16", 32, {}),
    _attention_input("attention input, fp8 pool", "*fp8e4nv", 16, _NO_NORM),
    CompileSpec(
        "plan_rows",
        plan_rows_kernel,
        {
            "query_starts": "*i32",
            "context_lens": "*i32",
            "block_tables": "*i32",
            "positions": "*i32",
            "slots": "*i64",
            "num_rows": "i32",
            "num_sequences": "i32",
            "table_stride": "i32",
        },
        {"BLOCK_SIZE": 64, "BLOCK_ROWS": 32, "BLOCK_SEQUENCES": 128},
    ),
    CompileSpec(
        "copy_blocks",
        copy_blocks_kernel,
        {
            "source_pool": "*i64",
            "target_pool": "*i64",
            "source_blocks": "*i32",
            "target_blocks": "*i32",
        },
        {"WORDS_PER_BLOCK": 1 << 20, "PIECE": 2048},
        num_warps=8,
        required=("ld.global.v2.b64", "st.global.v2.b64"),
    ),
]
