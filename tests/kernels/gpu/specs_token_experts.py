"""Experts of one token as Qwen3-30B-A3B, gpt-oss and DeepSeek-V3 have them."""

from typing import Any

from legato.kernels.gpu.token_experts import (
    TokenConfig,
    TokenRouting,
    token_down_kernel,
    token_gate_up_kernel,
)
from legato.kernels.routing_params import GroupLimit, RoutingParams, Scoring
from legato.tests.kernels.gpu.compiled import CompileSpec

_SOFTMAX = TokenRouting.of(RoutingParams(8, renormalizes=True), 128)
_GPT_OSS = TokenRouting.of(RoutingParams(4, renormalizes=True), 32)
_SIGMOID = TokenRouting.of(
    RoutingParams(8, Scoring.SIGMOID, renormalizes=True, groups=GroupLimit(8, 4, 2)), 256
)
_POINTERS = dict.fromkeys(("x_ptr", "weight_ptr", "bias_ptr", "out_ptr", "residual_ptr"), "*bf16")
_ROUTING_POINTERS = {"logits_ptr": "*fp32", "correction_ptr": "*fp32", "slots_ptr": "*i64"}
_NUMBERS = {"x_stride": "i32", "residual_stride": "i32", "weight_scale": "fp32"}


def _spec(name: str, kernel: Any, routing: TokenRouting, constants: dict[str, Any]) -> CompileSpec:
    config = TokenConfig()
    is_down = kernel is token_down_kernel
    without = {} if routing is _GPT_OSS else {"bias_ptr": None}
    if routing is not _SIGMOID:
        without["correction_ptr"] = None
    return CompileSpec(
        f"{name}, one token",
        kernel,
        {**_POINTERS, **_ROUTING_POINTERS, **_NUMBERS},
        {
            **without,
            **constants,
            "ROUTING": routing,
            "ROWS": config.down_rows if is_down else config.gate_rows,
            "INPUTS": config.down_inputs if is_down else config.gate_inputs,
            **({} if is_down else {"NUM_WARPS": config.gate_warps}),
            "IS_EARLY": True,
        },
        num_warps=config.down_warps if is_down else config.gate_warps,
        multiples_of_16=("x_stride", "residual_stride"),
        options={"launch_pdl": True},
    )


def _layer(routing: TokenRouting, hidden: int, dim: int) -> list[CompileSpec]:
    gate = (7.0, 1.702) if routing is _GPT_OSS else (None, 1.0)
    gated = {"DIM": dim, "NUM_INPUTS": hidden, "LIMIT": gate[0], "SLOPE": gate[1]}
    name = f"experts of {hidden} x {dim}"
    return [
        _spec(f"gate and up, {name}", token_gate_up_kernel, routing, gated),
        _spec(f"down, {name}", token_down_kernel, routing, {"HIDDEN": hidden, "NUM_INPUTS": dim}),
    ]


SPECS = [
    *_layer(_SOFTMAX, 2048, 768),
    *_layer(_GPT_OSS, 2880, 2880),
    *_layer(_SIGMOID, 7168, 2048),
]
