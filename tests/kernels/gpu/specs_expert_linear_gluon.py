"""Products of many tokens' experts as serving launches them, in bf16: Qwen3-30B-A3B's and
gpt-oss'."""

from triton.experimental.gluon import language as gl

from legato.kernels.activation_kind import ClampedGate
from legato.kernels.gpu.expert_gluon_items import GluonProduct
from legato.kernels.gpu.expert_linear_gluon import MAX_REGISTERS, expert_product_kernel
from legato.tests.kernels.gpu.compiled import CompileSpec

_LAYOUT = gl.NVMMASharedLayout(128, 16, 2)
_DESCRIBED = f"tensordesc<bf16[64, 64],{_LAYOUT!r}>"


def _product(
    name: str, num_rows: int, num_inputs: int, is_gated: bool, has_bias: bool = False
) -> CompileSpec:
    clamped = ClampedGate(7.0, 1.702) if is_gated and has_bias else None
    return CompileSpec(
        name,
        expert_product_kernel,
        {
            "x": "*bf16" if is_gated else _DESCRIBED,
            "weight_desc": _DESCRIBED,
            "bias": "*bf16",
            "out": "*bf16",
            **dict.fromkeys(("pairs", "tiles", "num_tiles", "counter"), "*i32"),
            "x_stride": "i32",
        },
        {
            "PRODUCT": GluonProduct(num_rows, num_inputs, is_gated, 8, clamped),
            **({} if has_bias else {"bias": None}),
        },
        multiples_of_16=("x_stride",),
        required=("wgmma.mma_async",),
        options={"maxnreg": MAX_REGISTERS},
    )


SPECS = [
    _product("gate and up of many tokens", 1536, 2048, is_gated=True),
    _product("down of many tokens", 2048, 768, is_gated=False),
    _product("gate and up of many tokens with biases, clamped", 5760, 2880, True, has_bias=True),
    _product("down of many tokens with biases", 2880, 2880, False, has_bias=True),
]
