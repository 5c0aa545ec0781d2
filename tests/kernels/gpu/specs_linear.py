"""Linear layers for few tokens, as an 8B model's decode steps launch them: bf16, weights 4096 wide
and 14336 wide; and the other cuts that tuning tries."""

from legato.kernels.gpu.small_linear import small_linear_kernel
from legato.kernels.gpu.small_linear_config import SmallLinearConfig
from legato.tests.kernels.gpu.compiled import CompileSpec

_SIGNATURE = {
    "x_ptr": "*bf16",
    "weight_ptr": "*bf16",
    "bias_ptr": "*bf16",
    "out_ptr": "*bf16",
    "partials_ptr": "*fp32",
    "counters_ptr": "*i32",
    "num_tokens": "i32",
    "num_rows": "i32",
    "num_inputs": "i32",
    "x_stride": "i32",
    "out_stride": "i32",
}
_SIZES = ("num_rows", "num_inputs", "x_stride", "out_stride")
_WGMMA = ("wgmma.mma_async",)


def _spec(
    name: str,
    num_tokens: int,
    config: SmallLinearConfig,
    required: tuple[str, ...],
    fused: tuple[str, ...] = (),
) -> CompileSpec:
    """`fused`: of "gate" and "add"."""
    constants: dict[str, object] = {
        "bias_ptr": None,
        "IS_GATED": "gate" in fused,
        "ADDS": "add" in fused,
        "BLOCK_TOKENS": num_tokens,
        "BLOCK_ROWS": config.block_rows,
        "BLOCK_INPUTS": config.block_inputs,
        "NUM_SPLITS": config.num_splits,
        "PREFETCH_INPUTS": config.prefetch_inputs(4096),
        "IS_EARLY": True,
    }
    if config.num_splits == 1:
        constants["partials_ptr"] = None
    return CompileSpec(
        name,
        small_linear_kernel,
        _SIGNATURE,
        constants,
        num_warps=config.num_warps,
        num_stages=config.num_stages,
        multiples_of_16=_SIZES,
        required=required,
        options={"launch_pdl": True},
    )


_TALL = SmallLinearConfig(64, 128, num_splits=1, num_warps=4, num_stages=5)
_SPLIT = SmallLinearConfig(64, 128, num_splits=4, num_warps=4, num_stages=5)
_WIDE = SmallLinearConfig(128, 64, num_splits=1, num_warps=4, num_stages=6)
_LARGE = SmallLinearConfig(128, 64, num_splits=4, num_warps=8, num_stages=4)
_SMALL = SmallLinearConfig(16, 256, num_splits=1, num_warps=4, num_stages=7)

SPECS = [
    _spec("qkv", 16, _SPLIT, _WGMMA),
    _spec("output and down projection", 16, _SPLIT, _WGMMA, ("add",)),
    _spec("gate and up", 16, _TALL, _WGMMA, ("gate",)),
    _spec("gate and up, more rows", 16, _WIDE, _WGMMA, ("gate",)),
    _spec("head", 16, _TALL, _WGMMA),
    _spec("64 tokens, gate and up", 64, _LARGE, _WGMMA, ("gate",)),
    _spec("64 tokens, down projection", 64, _LARGE, _WGMMA, ("add",)),
    _spec("few rows", 16, _SMALL, ("mma.sync",)),
]
