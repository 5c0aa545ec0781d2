"""Counter-based random numbers: a pure function of (seed, position, token), with no state.

Philox-4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011). The key is the
sequence's seed; the counter is (token / 4, position, position's upper half, 0), and the token takes
word `token % 4` of the result. So a draw does not depend on the batch, the row or the machine
that computes it, and a sequence can move between engines without any generator state.
"""

import torch

_WORD = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10

Words4 = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def philox_4x32(counter: Words4, key: tuple[torch.Tensor, torch.Tensor]) -> Words4:
    """Four random 32-bit words for each counter; all tensors int64 in 0..2**32-1, broadcastable."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        # The 64-bit product wraps around as int64, but its bits are those of the unsigned one.
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0 = ((product1 >> 32) ^ c1 ^ k0) & _WORD
        c2 = ((product0 >> 32) ^ c3 ^ k1) & _WORD
        c1, c3 = product1 & _WORD, product0 & _WORD
        k0, k1 = (k0 + _KEY_STEPS[0]) & _WORD, (k1 + _KEY_STEPS[1]) & _WORD
    return c0, c1, c2, c3


def exponential_noise(
    seeds: torch.Tensor, positions: torch.Tensor, vocab_size: int
) -> torch.Tensor:
    """Independent draws from the exponential distribution of mean 1, one for each token.

    Args:
        seeds: [rows] int64, any value
        positions: [rows] int64, index of the output token to be drawn

    Returns:
        [rows, vocab_size] float32, positive and finite
    """
    seeds, positions = seeds[:, None], positions[:, None]
    tokens = torch.arange((vocab_size + 3) // 4, device=seeds.device)[None, :]
    zeros = torch.zeros_like(tokens)
    counter = (tokens, positions & _WORD, (positions >> 32) & _WORD, zeros)
    words = philox_4x32(counter, (seeds & _WORD, (seeds >> 32) & _WORD))
    bits = torch.stack(words, dim=-1).flatten(1)[:, :vocab_size]
    # Small draws decide who wins, and -log1p(-u), unlike -log(u), keeps their full precision.
    uniform = bits.to(torch.float32).add_(0.5).mul_(2.0**-32).clamp_(max=1 - 2.0**-24)
    return uniform.neg_().log1p_().neg_()
