"""Sinks of attention: a learned score for each query head, beside those of the keys.

A sink takes its share of a query's weights and has no value. It enters once, where the weighted
values of all keys are there, however many programs shared them out. Where `sinks` is None, nothing
is computed.
"""

import triton
import triton.language as tl

_LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def leave_to_sinks(result, lse, sinks, first_head, NUM_HEADS: tl.constexpr):
    """Means of values, [rows, dims], without the share of the rows' heads' sinks.

    Args:
        lse: log2 of the sums of the keys' weights, [rows]
        first_head: of the first row; rows from NUM_HEADS on are padding
    """
    if sinks is not None:
        rows = tl.arange(0, result.shape[0])
        scores = tl.load(sinks + first_head + rows, rows < NUM_HEADS, float("-inf")).to(tl.float32)
        result *= (1 / (1 + tl.exp2(scores * _LOG2_E - lse)))[:, None]
    return result


@triton.jit
def add_sinks(weight, largest, sinks, heads):
    """Sums of the keys' weights, in units of 2 ** largest, with those of the heads' sinks."""
    if sinks is not None:
        weight += tl.exp2(tl.load(sinks + heads).to(tl.float32) * _LOG2_E - largest)
    return weight
