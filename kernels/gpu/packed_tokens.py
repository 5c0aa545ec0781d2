"""A value and its token in one integer, whose order is that of the values, then of lower tokens.

    bit 63 .. 32                             bit 31 .. 0
    [ value's bits, made to sort as int32 ] [ 2**31 - 1 - token ]

So one maximum finds the value and the token, ties go to the lowest token, and the result is the
same in whatever order programs contribute. Tokens are int32; NaN must not occur.
"""

import triton
import triton.language as tl

# Less than any packed token: no token at all.
NOTHING = tl.constexpr(-(1 << 63))
_LOW_BITS = tl.constexpr(0x7FFFFFFF)


@triton.jit
def pack(values, tokens):
    """int64 of the values' shape; values are float32."""
    bits = tl.where(values == 0.0, 0.0, values).to(tl.int32, bitcast=True)  # -0 is no less than 0
    ordered = bits ^ ((bits >> 31) & _LOW_BITS)
    return (ordered.to(tl.int64) << 32) | (-tokens + _LOW_BITS).to(tl.int64)


@triton.jit
def packed_value(packed):
    ordered = (packed >> 32).to(tl.int32)
    bits = ordered ^ ((ordered >> 31) & _LOW_BITS)
    return bits.to(tl.float32, bitcast=True)


@triton.jit
def packed_token(packed):
    return -(packed & _LOW_BITS).to(tl.int32) + _LOW_BITS
