"""Decode attention as Llama-8B, Gemma and their like are served: blocks of 64 tokens."""

import torch

from legato.kernels.gpu.decode_attention import _decode_kernel
from legato.kernels.gpu.decode_piece import PieceShape
from legato.kernels.gpu.decode_work import DecodeConfig, DecodeShape, _plan_kernel, default_config
from legato.tests.kernels.gpu.compiled import CompileSpec

TYPE_NAMES = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float8_e4m3fn: "u16",  # in pairs
}


def decode_spec(
    head_dim: int,
    group: int = 4,
    kv_dtype: torch.dtype = torch.bfloat16,
    block_size: int = 64,
    config: DecodeConfig | None = None,
    has_sinks: bool = False,
) -> CompileSpec:
    shape = DecodeShape(64, 8 * group, 8, head_dim, kv_dtype, torch.device("cpu"))
    config = config or default_config(shape)
    signature = {
        "query": "*bf16",
        "sinks": "*bf16",
        "kv_pool": f"*{TYPE_NAMES[kv_dtype]}",
        "output": "*bf16",
        **dict.fromkeys(("block_tables", "items", "spans", "arrivals"), "*i32"),
        **dict.fromkeys(("partial_outputs", "partial_lses"), "*fp32"),
        **dict.fromkeys(
            ("query_stride", "table_stride", "pool_heads", "layer_head", "window"), "i32"
        ),
        **dict.fromkeys(("query_scale", "score_scale", "softcap", "value_scale"), "fp32"),
    }
    constants = {
        "SHAPE": PieceShape(
            group=group,
            num_kv_heads=8,
            head_dim=head_dim,
            block_size=block_size,
            tile=config.tile,
            has_softcap=head_dim == 256,
            swaps_operands=config.swaps_operands,
            packing=2 if kv_dtype.itemsize == 1 else 1,
            prefetches=config.prefetches,
        ),
        **({} if has_sinks else {"sinks": None}),
        "LAUNCHES_EARLY": config.launches_early,
    }
    swapped = " swapped" if config.swaps_operands else ""
    sinks = " sinks" if has_sinks else ""
    return CompileSpec(
        name=f"decode {group}x{head_dim} {TYPE_NAMES[kv_dtype]} block {block_size}{swapped}{sinks}",
        kernel=_decode_kernel,
        signature=signature,
        constants=constants,
        num_warps=config.num_warps,
        num_stages=config.num_stages,
        multiples_of_16=("query_stride",),
        required=("wgmma",) if config.swaps_operands else ("mma.sync", "cp.async"),
        options={"launch_pdl": config.launches_early, "maxnreg": config.max_registers},
    )


SPECS = [
    decode_spec(128),
    decode_spec(128, kv_dtype=torch.float8_e4m3fn),
    decode_spec(128, block_size=16),
    decode_spec(128, group=8, config=DecodeConfig(64, 4, 3, 2, swaps_operands=True)),
    decode_spec(64, group=8),
    decode_spec(64, group=8, has_sinks=True),
    decode_spec(96, group=1),
    decode_spec(256, group=2),
    CompileSpec(
        name="decode plan",
        kernel=_plan_kernel,
        signature={
            **dict.fromkeys(("query_starts", "context_lens", "items", "spans"), "*i32"),
            **dict.fromkeys(
                ("num_sequences", "num_programs", "window", "min_span_tiles", "short_parts"), "i32"
            ),
        },
        constants={"TILE": 64, "NUM_KV_HEADS": 8, "MAX_SEQUENCES": 256, "PROGRAMS": 32},
    ),
]
