"""The sizes for which steps are captured as CUDA graphs; a step runs in the next larger one.

Padding costs time in proportion, a graph costs start-up time and memory: sizes are a step of at
most an eighth apart where batches are large, and exact where they are small.
"""

from bisect import bisect_left
from collections.abc import Sequence

_SMALL = (1, 2, 4, 8)
_DECODE_STRIDES = ((128, 8), (256, 16), (512, 32))  # up to this many sequences, this far apart
# Small steps wait for weights, with padding or without. Longer ones than the last take longer than
# their launches.
_PREFILL_SIZES = (16, 32, 64, *range(128, 1024, 64), *range(1024, 2049, 128))
# Sizes between which libraries change their minds on how to compute.
_LARGE_SIZES = (3072, 4096, 6144, 8192, 12288, 16384)


def decode_sizes(max_num_seqs: int) -> list[int]:
    """Numbers of sequences for steps in which each has one token, rising; the last holds all."""
    sizes = [size for size in _SMALL if size < max_num_seqs]
    size = _SMALL[-1]
    while size < max_num_seqs:
        size += next((stride for limit, stride in _DECODE_STRIDES if size < limit), 64)
        sizes.append(size)
    return [*(size for size in sizes if size < max_num_seqs), max_num_seqs]


def prefill_sizes(max_num_batched_tokens: int) -> list[int]:
    """Numbers of tokens for steps with prompts in them, rising; none where steps are tiny."""
    return [size for size in _PREFILL_SIZES if size <= max_num_batched_tokens]


def large_sizes(max_num_batched_tokens: int) -> list[int]:
    """Numbers of tokens that stand for the steps that are not captured, the largest included."""
    if max_num_batched_tokens in _PREFILL_SIZES:
        return []
    return [*(s for s in _LARGE_SIZES if s < max_num_batched_tokens), max_num_batched_tokens]


def smallest_at_least(sizes: Sequence[int], number: int) -> int | None:
    """The first of the rising `sizes` that holds `number`; None if none does."""
    index = bisect_left(sizes, number)
    return sizes[index] if index < len(sizes) else None
