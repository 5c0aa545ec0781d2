"""Sampling's kernels as serving launches them: logits in bf16 and fp32, a vocabulary of 151936."""

from typing import Any

from legato.kernels.gpu.logit_adjustments import adjust_kernel
from legato.kernels.gpu.logprobs import chunk_kernel, merge_kernel
from legato.kernels.gpu.sampling_filters import histogram_kernel
from legato.kernels.gpu.sampling_race import draw_kernel, finish_kernel
from legato.tests.kernels.gpu.compiled import CompileSpec

_TYPES = {
    "*fp32": (
        "adjusted presence_penalties frequency_penalties repetition_penalties bias_values"
        " temperatures top_ps min_ps chunk_greatest chunk_sums logprobs top_logprobs"
    ),
    "*i64": "chunk_best row_state seeds positions token_ids chunk_tops ranks top_ids",
    "*i32": (
        "histograms count_slots bias_token_ids num_biases masks has_mask candidate_keys"
        " candidate_tokens top_ks chunk_likelier"
    ),
    "*i16": "token_counts",
    "i32": "max_biases vocab_size logits_stride first_row blocks_per_chunk num_chunks num_top",
}
_SIGNATURE = {name: kind for kind, names in _TYPES.items() for name in names.split()}


def _spec(
    name: str, kernel: Any, logits_type: str, num_warps: int, **constants: Any
) -> CompileSpec:
    return CompileSpec(
        name,
        kernel,
        {**_SIGNATURE, "logits": logits_type},
        {**constants, "IS_EARLY": True},
        num_warps=num_warps,
        multiples_of_16=("vocab_size", "logits_stride"),
        options={"launch_pdl": True},
    )


SPECS = [
    _spec("adjust bf16", adjust_kernel, "*bf16", 8, BLOCK=2048, NUM_BINS=256),
    _spec("adjust fp32", adjust_kernel, "*fp32", 4, BLOCK=1024, NUM_BINS=256),
    _spec("histogram", histogram_kernel, "*bf16", 8, BLOCK=2048, MAX_CHUNKS=256),
    _spec("draw bf16", draw_kernel, "*bf16", 8, BLOCK=2048, MAX_CHUNKS=256),
    _spec("draw fp32", draw_kernel, "*fp32", 4, BLOCK=1024, MAX_CHUNKS=256),
    _spec("finish", finish_kernel, "*bf16", 8, BLOCK=2048, MAX_CHUNKS=256),
    _spec("logprobs of chunks", chunk_kernel, "*bf16", 8, CHUNK=4096),
    _spec("logprobs merged", merge_kernel, "*bf16", 8, MAX_CHUNKS=64, MAX_TOPS=1024),
]
