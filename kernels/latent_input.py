"""From the projections of latent attention to what it reads, in one call.

turned   [tokens, heads, rope_dim]           -> rotation -> query, behind the latent part
stored   [tokens, latent_dim | rope_dim]
    latent   -> norm                         -> block pool
    the rest -> rotation                     -> block pool
"""

from dataclasses import dataclass

import torch

from legato.kernels.norm import rms_norm
from legato.kernels.rotary import apply_rotary_


@dataclass(frozen=True, slots=True, eq=False)
class LatentNorm:
    """Norm of what is stored; the weight is [latent_dim]."""

    weight: torch.Tensor
    eps: float


def rotate_and_write_latent(
    turned: torch.Tensor,
    stored: torch.Tensor,
    query: torch.Tensor,
    rotary: tuple[torch.Tensor, torch.Tensor],
    norm: LatentNorm,
    kv_pool: torch.Tensor,
    layer: int,
    slots: torch.Tensor,
) -> None:
    """Completes queries, and stores what the tokens leave for later ones.

    Args:
        turned: [tokens, heads, rope_dim], values of a head adjacent
        stored: [tokens, latent_dim + rope_dim], values of a token adjacent
        query: [tokens, heads, latent_dim + rope_dim] contiguous; its last rope_dim are written
        rotary: cosines and sines of `rotary_tables`, each [tokens, 1, rope_dim]
        kv_pool: [block, layer, 1, 1, token, latent_dim + rope_dim] contiguous, written in place
        slots: [tokens] int64, block_id * block_size + offset; -1: nothing is stored
    """
    latent_dim, block_size = norm.weight.shape[0], kv_pool.shape[4]
    query[..., latent_dim:] = turned
    apply_rotary_(query[..., latent_dim:], *rotary)
    latent, rest = stored[:, :latent_dim], stored[:, latent_dim:].clone()
    apply_rotary_(rest[:, None], *rotary)
    entries = torch.cat((rms_norm(latent, norm.weight, norm.eps), rest), dim=1)
    is_token = slots >= 0
    entries, slots = entries[is_token], slots[is_token]
    blocks = slots.div(block_size, rounding_mode="floor")
    kv_pool[:, layer, 0, 0].index_put_((blocks, slots - blocks * block_size), entries)
