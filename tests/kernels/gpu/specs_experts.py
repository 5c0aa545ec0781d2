"""Routing and weighted sums as serving launches them, of bf16: Qwen3-30B-A3B's 128 experts, top-8;
and one with groups of experts."""

from legato.kernels.gpu.expert_routing import place_kernel, route_kernel, scan_kernel
from legato.kernels.gpu.experts import add_weighted_kernel
from legato.tests.kernels.gpu.compiled import CompileSpec

_ROUTING = {"NUM_EXPERTS": 128, "BLOCK_EXPERTS": 128, "IS_EARLY": True}


def _route(num_tokens: int, num_warps: int, **constants: object) -> CompileSpec:
    return CompileSpec(
        f"routing, {num_tokens} tokens a program",
        route_kernel,
        {
            "logits_ptr": "*fp32",
            "correction_ptr": "*fp32",
            "slots_ptr": "*i64",
            "expert_ids_ptr": "*i32",
            "weights_ptr": "*fp32",
            "pairs_ptr": "*i32",
            "tiles_ptr": "*i32",
            "num_tiles_ptr": "*i32",
            "counts_ptr": "*i32",
            "num_tokens": "i32",
            "weight_scale": "fp32",
        },
        {
            **_ROUTING,
            "TOP_K": 8,
            "IS_SIGMOID": False,
            "RENORMALIZES": True,
            "NUM_GROUPS": 1,
            "NUM_CHOSEN_GROUPS": 1,
            "NUM_COUNTED": 1,
            "BLOCK_GROUPS": 1,
            "BLOCK_TOKENS": num_tokens,
            "BLOCK_PAIRS": 16,
            **constants,
        },
        num_warps=num_warps,
        options={"launch_pdl": True},
    )


SPECS = [
    _route(64, 16, counts_ptr=None, correction_ptr=None),
    _route(
        32,
        8,
        IS_SIGMOID=True,
        NUM_GROUPS=8,
        NUM_CHOSEN_GROUPS=4,
        NUM_COUNTED=2,
        BLOCK_GROUPS=8,
    ),
    CompileSpec(
        "sums over chunks",
        scan_kernel,
        {
            "counts_ptr": "*i32",
            "tiles_ptr": "*i32",
            "num_tiles_ptr": "*i32",
            "num_chunks": "i32",
        },
        {**_ROUTING, "BLOCK_CHUNKS": 32, "BLOCK_PAIRS": 128},
        options={"launch_pdl": True},
    ),
    CompileSpec(
        "pairs of chunks",
        place_kernel,
        {
            "expert_ids_ptr": "*i32",
            "counts_ptr": "*i32",
            "pairs_ptr": "*i32",
            "num_tokens": "i32",
            "num_chunks": "i32",
        },
        {**_ROUTING, "TOP_K": 8, "BLOCK_TOKENS": 32},
        num_warps=8,
        options={"launch_pdl": True},
    ),
    CompileSpec(
        "weighted sums",
        add_weighted_kernel,
        {
            "outputs_ptr": "*bf16",
            "expert_ids_ptr": "*i32",
            "weights_ptr": "*fp32",
            "residual_ptr": "*bf16",
            "residual_stride": "i32",
        },
        {"DIM": 2048, "NUM_EXPERTS": 128, "TOP_K": 8, "BLOCK": 1024, "IS_EARLY": True},
        options={"launch_pdl": True},
    ),
]
