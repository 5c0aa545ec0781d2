"""Log probabilities of chosen tokens and of the likeliest ones, without a sort of the vocabulary.

    chunk kernel (row, chunk)  greatest logit, sum of exponentials, how many are likelier than the
                               chosen token, the chunk's likeliest tokens one after the other
    merge kernel (row)         the same of the chunks

Chunks have a fixed size, so a row's figures do not depend on the batch.
"""

import torch
import triton
import triton.language as tl

from legato.kernels.gpu.device import can_launch_early
from legato.kernels.gpu.packed_tokens import NOTHING, pack, packed_token, packed_value
from legato.kernels.logprobs import TokenLogprobs

_CHUNK = 4096
_NUM_WARPS = 8


def token_logprobs(logits: torch.Tensor, token_ids: torch.Tensor, num_top: int) -> TokenLogprobs:
    """What the distribution softmax(logits) says of tokens.

    Args:
        logits: [rows, vocab] float32, bfloat16 or float16; the tokens of a row adjacent
        token_ids: [rows] int64, the chosen tokens
        num_top: how many of the likeliest tokens to name, 0..20, vocab at most

    Returns:
        the chosen tokens' log probabilities, [rows] float32
        their ranks, [rows] int64: 1 + the number of likelier tokens
        the likeliest tokens, likeliest first, of equal ones the lowest, [rows, num_top] int64
        their log probabilities, [rows, num_top] float32
    """
    num_rows, vocab_size = logits.shape
    assert logits.stride(1) == 1 and num_top <= vocab_size
    num_chunks = triton.cdiv(vocab_size, _CHUNK)

    def empty(dtype: torch.dtype, *shape: int) -> torch.Tensor:
        return torch.empty((num_rows, *shape), dtype=dtype, device=logits.device)

    chunks = (
        empty(torch.float32, num_chunks),
        empty(torch.float32, num_chunks),
        empty(torch.int32, num_chunks),
        empty(torch.int64, num_chunks, num_top),
    )
    results = (
        empty(torch.float32),
        empty(torch.int64),
        empty(torch.int64, num_top),
        empty(torch.float32, num_top),
    )
    is_early = can_launch_early(logits.device)
    options = {"IS_EARLY": is_early, "launch_pdl": is_early, "num_warps": _NUM_WARPS}
    given = (logits, token_ids, *chunks)
    chunk_kernel[num_chunks, num_rows](
        *given, vocab_size, logits.stride(0), num_top, CHUNK=_CHUNK, **options
    )
    merge_kernel[(num_rows,)](
        *given,
        *results,
        logits.stride(0),
        num_chunks,
        num_top,
        MAX_CHUNKS=triton.next_power_of_2(num_chunks),
        MAX_TOPS=triton.next_power_of_2(num_chunks * max(num_top, 1)),
        **options,
    )
    return results


@triton.jit(do_not_specialize=["num_top"])
def chunk_kernel(
    logits,  # [rows, vocab]
    token_ids,
    chunk_greatest,  # [rows, chunks]
    chunk_sums,  # [rows, chunks], of exponentials relative to the greatest
    chunk_likelier,  # [rows, chunks]
    chunk_tops,  # [rows, chunks, num_top] packed
    vocab_size,
    logits_stride,
    num_top,
    CHUNK: tl.constexpr,
    IS_EARLY: tl.constexpr,
):
    if IS_EARLY:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    chunk, row = tl.program_id(0), tl.program_id(1).to(tl.int64)
    entry = row * tl.num_programs(0) + chunk
    tokens = chunk * CHUNK + tl.arange(0, CHUNK)
    is_token = tokens < vocab_size
    logits_row = logits + row * logits_stride
    values = tl.load(logits_row + tokens, is_token, other=float("-inf")).to(tl.float32)
    chosen = tl.load(logits_row + tl.load(token_ids + row)).to(tl.float32)
    greatest = tl.max(values, axis=0)
    tl.store(chunk_greatest + entry, greatest)
    tl.store(chunk_sums + entry, tl.sum(tl.exp(values - _finite(greatest)), axis=0))
    tl.store(chunk_likelier + entry, tl.sum((values > chosen).to(tl.int32), axis=0))
    packed = tl.where(is_token, pack(values, tokens), NOTHING)
    for place in range(num_top):
        best = tl.max(packed, axis=0)
        tl.store(chunk_tops + entry * num_top + place, best)
        packed = tl.where(packed == best, NOTHING, packed)


@triton.jit(do_not_specialize=["num_chunks", "num_top"])
def merge_kernel(
    logits,  # [rows, vocab]
    token_ids,
    chunk_greatest,  # [rows, chunks]
    chunk_sums,
    chunk_likelier,
    chunk_tops,  # [rows, chunks, num_top] packed
    logprobs,
    ranks,
    top_ids,  # [rows, num_top]
    top_logprobs,
    logits_stride,
    num_chunks,
    num_top,
    MAX_CHUNKS: tl.constexpr,
    MAX_TOPS: tl.constexpr,
    IS_EARLY: tl.constexpr,
):
    if IS_EARLY:
        tl.extra.cuda.gdc_wait()
        tl.extra.cuda.gdc_launch_dependents()
    row = tl.program_id(0).to(tl.int64)
    chunks = tl.arange(0, MAX_CHUNKS)
    is_chunk = chunks < num_chunks
    entries = row * num_chunks + chunks
    peaks = tl.load(chunk_greatest + entries, is_chunk, other=float("-inf"))
    sums = tl.load(chunk_sums + entries, is_chunk, other=0.0)
    greatest = _finite(tl.max(peaks, axis=0))
    log_sum = tl.log(tl.sum(sums * tl.exp(peaks - greatest), axis=0))
    chosen = tl.load(logits + row * logits_stride + tl.load(token_ids + row)).to(tl.float32)
    tl.store(logprobs + row, chosen - greatest - log_sum)
    likelier = tl.load(chunk_likelier + entries, is_chunk, other=0)
    tl.store(ranks + row, tl.sum(likelier, axis=0).to(tl.int64) + 1)

    tops = tl.arange(0, MAX_TOPS)
    num_tops = num_chunks * num_top
    packed = tl.load(chunk_tops + row * num_tops + tops, tops < num_tops, other=NOTHING)
    for place in range(num_top):
        best = tl.max(packed, axis=0)
        tl.store(top_ids + row * num_top + place, packed_token(best).to(tl.int64))
        tl.store(top_logprobs + row * num_top + place, packed_value(best) - greatest - log_sum)
        packed = tl.where(packed == best, NOTHING, packed)


@triton.jit
def _finite(greatest):
    """Zero in place of -inf, from which nothing can be subtracted."""
    return tl.where(greatest == float("-inf"), 0.0, greatest)
