"""The noise of `legato.kernels.random`, computed where it is used: no tensor of it is ever stored.

One evaluation of Philox serves four adjacent tokens; whoever draws for a run of tokens takes all
four words, whoever draws for scattered ones takes the word it needs.
"""

import triton
import triton.language as tl


@triton.jit
def run_log_noise(seed, position, first_token, SIZE: tl.constexpr):
    """Logarithm of the noise of SIZE adjacent tokens; `first_token` is a multiple of four."""
    quads = first_token // 4 + tl.arange(0, SIZE // 4)
    word0, word1, word2, word3 = _words(seed, position, quads)
    even = tl.interleave(word0, word2)
    odd = tl.interleave(word1, word3)
    return _log_exponential(tl.interleave(even, odd))


@triton.jit
def token_log_noise(seed, position, tokens):
    """Logarithm of the noise of the given tokens."""
    word0, word1, word2, word3 = _words(seed, position, tokens // 4)
    remainders = tokens % 4
    low = tl.where(remainders == 0, word0, word1)
    high = tl.where(remainders == 2, word2, word3)
    return _log_exponential(tl.where(remainders < 2, low, high))


@triton.jit
def _words(seed, position, quads):
    counters = quads.to(tl.uint32)
    zeros = counters & 0
    low = zeros + (position & 0xFFFFFFFF).to(tl.uint32)
    high = zeros + ((position >> 32) & 0xFFFFFFFF).to(tl.uint32)
    return tl.philox(seed, counters, low, high, zeros)


@triton.jit
def _log_exponential(words):
    uniform = tl.minimum((words.to(tl.float32) + 0.5) * 2.0**-32, 1 - 2.0**-24)
    # log1p(-uniform): what is lost when the complement is rounded is made good by the quotient.
    complement = 1.0 - uniform
    is_tiny = complement == 1.0
    rounded = tl.where(is_tiny, 1.0, 1.0 - complement)
    log1p = tl.where(is_tiny, -uniform, tl.log(complement) * (uniform / rounded))
    return tl.log(-log1p)
