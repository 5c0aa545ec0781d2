"""The weights of latent attention, arranged as it is computed.

    expand   head 0: [plain_dim rows | value_dim rows], head 1 ...   x latent_dim
               `-> key_up               `-> value_up, transposed       views, no copies

Rows that turn in pairs are reordered, those of queries like those of keys, so that dimensions turn
with the other half as everywhere else: scores are sums over dimensions, in whatever order.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from legato.engine.models.latent_config import LatentConfig


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LatentWeights:
    """What latent attention has beside the matrix that reads the hidden states."""

    query_norm: torch.Tensor | None  # [query_rank]
    query: torch.Tensor | None  # [heads * key_dim, query_rank]
    norm: torch.Tensor  # [latent_dim]
    key_up: torch.Tensor  # [heads, plain_dim, latent_dim]
    value_up: torch.Tensor  # [heads, latent_dim, value_dim]


def assemble_latent(
    tensors: Mapping[str, torch.Tensor], prefix: str, latent: LatentConfig
) -> LatentWeights:
    """The weights of the layer whose tensors' names begin with `prefix`, changed in place."""
    qkv, query = tensors[f"{prefix}qkv"], tensors.get(f"{prefix}latent.query")
    if latent.has_pairs:
        queries = qkv[: -latent.stored_dim] if query is None else query
        _unpair_(queries.unflatten(0, (-1, latent.key_dim))[:, latent.plain_dim :])
        _unpair_(qkv[-latent.rope_dim :])
    expand = tensors[f"{prefix}latent.expand"]
    heads = expand.unflatten(0, (-1, latent.plain_dim + latent.value_dim))
    return LatentWeights(
        query_norm=tensors.get(f"{prefix}latent.query_norm"),
        query=query,
        norm=tensors[f"{prefix}latent.norm"],
        key_up=heads[:, : latent.plain_dim],
        value_up=heads[:, latent.plain_dim :].transpose(1, 2),
    )


def _unpair_(rows: torch.Tensor) -> None:
    """Of [..., rows, inputs], brings the second row of each pair behind the first ones of all."""
    rows.copy_(torch.cat((rows[..., 0::2, :], rows[..., 1::2, :]), dim=-2))
