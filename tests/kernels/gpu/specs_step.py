"""The kernels between two steps, as serving launches them."""

from legato.kernels.gpu.step_advance import _advance_kernel, _take_sampled_kernel
from legato.kernels.gpu.token_counts import count_tokens_kernel
from legato.tests.kernels.gpu.compiled import CompileSpec

SPECS = [
    CompileSpec(
        "take sampled",
        _take_sampled_kernel,
        {"token_ids": "*i32", "sources": "*i32", "sampled": "*i64", "count": "i32"},
        {"BLOCK": 1024},
    ),
    CompileSpec(
        "advance",
        _advance_kernel,
        {"context_lens": "*i32", "positions": "*i64", "sources": "*i32", "count": "i32"},
        {"BLOCK": 1024},
    ),
    CompileSpec(
        "count tokens",
        count_tokens_kernel,
        {
            "token_ids": "*i64",
            "count_slots": "*i32",
            "token_counts": "*i16",
            "num_rows": "i32",
            "vocab_size": "i32",
        },
        {"BLOCK_ROWS": 128, "IS_EARLY": True},
    ),
]
