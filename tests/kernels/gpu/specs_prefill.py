"""Specializations of prefill attention that serving uses."""

from collections.abc import Mapping
from typing import Any

from triton.experimental.gluon import language as gl

from legato.kernels.gpu.prefill_attention import _prefill_kernel
from legato.kernels.gpu.prefill_attention_gluon import MAX_REGISTERS, prefill_kernel
from legato.kernels.gpu.prefill_work import PrefillConfig, _plan_kernel
from legato.tests.kernels.gpu.compiled import CompileSpec

_LARGE = PrefillConfig(128, 64, 8, 3)
_SIGNATURE = {
    "query": "*bf16",
    "kv_pool": "*bf16",
    "output": "*bf16",
    "tiles": "*i32",
    "block_tables": "*i32",
    "sinks": "*bf16",
    **dict.fromkeys(("query_stride", "table_stride", "num_layers", "layer", "window"), "i32"),
    **dict.fromkeys(("query_scale", "score_scale", "scaled_softcap", "value_scale"), "fp32"),
}
_CONSTANTS = {
    "HEAD_DIM": 128,
    "BLOCK_D": 128,
    "GROUP": 4,
    "BLOCK_SIZE": 64,
    "HAS_WINDOW": False,
    "HAS_SOFTCAP": False,
}


_GPT_OSS: dict[str, Any] = {"HEAD_DIM": 64, "GROUP": 8, "HAS_WINDOW": True, "HAS_SINKS": True}


def _without_sinks(constants: dict[str, Any]) -> dict[str, Any]:
    """The constants, with None for sinks unless they are asked for."""
    has_sinks = constants.pop("HAS_SINKS", False)
    return constants if has_sinks else constants | {"sinks": None}


def _spec(
    name: str,
    config: PrefillConfig = _LARGE,
    signature: Mapping[str, str] | None = None,
    **constants: Any,
) -> CompileSpec:
    tile = {"BLOCK_M": config.block_m, "BLOCK_N": config.block_n}
    return CompileSpec(
        name=f"prefill_attention {name}",
        kernel=_prefill_kernel,
        signature={**_SIGNATURE, **(signature or {})},
        constants=_without_sinks({**_CONSTANTS, **tile, **constants}),
        num_warps=config.num_warps,
        num_stages=config.num_stages,
        multiples_of_16=("query_stride",),
        required=("wgmma",),
    )


def _specialized(name: str, num_slots: int, **constants: Any) -> CompileSpec:
    layout = gl.NVMMASharedLayout(swizzle_byte_width=128, element_bitwidth=16, rank=2)
    integers = ("query_stride", "table_stride", "num_layers", "layer", "window")
    return CompileSpec(
        name=f"specialized prefill attention {name}",
        kernel=prefill_kernel,
        signature={
            **_SIGNATURE,
            **dict.fromkeys(integers, "i32"),
            "pool_desc": f"tensordesc<bf16[64, 64],{layout!r}>",
            "num_tiles": "*i32",
            "context_lens": "*i32",
        },
        constants=_without_sinks(
            {
                "HEAD_DIM": 128,
                "NUM_KV_HEADS": 8,
                "GROUP": 4,
                "BLOCK_SIZE": 64,
                "NUM_SLOTS": num_slots,
                "HAS_WINDOW": False,
                **constants,
            }
        ),
        multiples_of_16=("query_stride",),
        required=("wgmma", "setmaxnreg", "cp.async.bulk.tensor"),
        options={"maxnreg": MAX_REGISTERS},
    )


SPECS = [
    CompileSpec(
        name="plan_prefill",
        kernel=_plan_kernel,
        signature={
            "query_starts": "*i32",
            "context_lens": "*i32",
            "tiles": "*i32",
            "total": "*i32",
            "num_sequences": "i32",
        },
        constants={"QUERIES_PER_TILE": 32, "BLOCK_SEQUENCES": 256},
    ),
    _spec("large"),
    _spec("of a head of 256", PrefillConfig(128, 64, 8, 2), HEAD_DIM=256, BLOCK_D=256),
    _spec("with keys of 8 bits", signature={"kv_pool": "*fp8e4nv"}),
    _spec("with window and softcap", HAS_WINDOW=True, HAS_SOFTCAP=True),
    _specialized("with two slots", 2),
    _specialized("with a window", 2, HAS_WINDOW=True),
    _specialized("of a head of 64", 4, HEAD_DIM=64),
    _spec("with sinks", **_GPT_OSS, BLOCK_D=64),
    _specialized("with sinks", 4, **_GPT_OSS),
]
