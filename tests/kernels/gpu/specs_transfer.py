"""The kernels of transfers, as serving launches them: Llama-8B's blocks of 64 tokens."""

from legato.kernels.block_push import NUM_COLUMNS
from legato.kernels.gpu.block_push import (
    DIGEST_CONFIG,
    PUSH_CONFIG,
    BlockPushConfig,
    push_blocks_kernel,
)
from legato.tests.kernels.gpu.compiled import CompileSpec

_SIGNATURE = {
    "source": "*i32",
    "target_address": "i64",
    "source_blocks": "*i64",
    "target_blocks": "*i64",
    "digests": "*i64",
    "row_factors": "*i64",
    "column_factors": "*i64",
    "num_tiles": "i32",
}


def _spec(name: str, config: BlockPushConfig, copies: bool) -> CompileSpec:
    constants = {
        "WORDS_PER_BLOCK": 2 << 20,
        "ROWS": config.rows,
        "COLUMNS": NUM_COLUMNS,
        "COPIES": copies,
    }
    return CompileSpec(name, push_blocks_kernel, _SIGNATURE, constants, num_warps=config.num_warps)


SPECS = [
    _spec("push blocks", PUSH_CONFIG, copies=True),
    _spec("digest blocks", DIGEST_CONFIG, copies=False),
]
