"""Latent attention: one small vector of each token is all that is stored, for all heads.

    hidden --> query [plain | rope] of each head
           `-> stored [latent | rope], the same for all heads

A head's keys and values would be products of the latent with two matrices of its own. They are
never made: the first matrix is applied to the query, the second to the weighted mean of latents.

    query . (key_up @ latent)       = (query @ key_up) . latent
    sum of weight * (latent @ value_up) = (sum of weight * latent) @ value_up
"""

import torch

from legato.engine.models.forward_context import ForwardContext
from legato.engine.models.latent_weights import LatentWeights
from legato.engine.models.model_config import ModelConfig
from legato.kernels.latent_input import LatentNorm

_EPS = 1e-6  # of the norms in here, whatever config.json says of the others


def attend_latent(
    weights: LatentWeights,
    config: ModelConfig,
    projected: torch.Tensor,
    index: int,
    rotary: tuple[torch.Tensor, torch.Tensor],
    context: ForwardContext,
) -> torch.Tensor:
    """Attention of the layer `index`, before its output projection.

    Args:
        projected: [tokens, queries or what they are made of + stored_dim]

    Returns:
        [tokens, heads * value_dim]
    """
    latent, kernels, plan = config.latent, context.kernels, context.plan
    assert latent is not None
    num_tokens, heads = projected.shape[0], config.num_heads
    asking, stored = projected[:, : -latent.stored_dim], projected[:, -latent.stored_dim :]
    if weights.query is not None and weights.query_norm is not None:
        asking = kernels.linear(
            kernels.rms_norm(asking, weights.query_norm, _EPS), weights.query, None
        )
    plain, turned = asking.unflatten(1, (heads, -1)).split((latent.plain_dim, latent.rope_dim), 2)

    query = projected.new_empty(num_tokens, heads, latent.stored_dim)
    _multiply_heads(plain, weights.key_up, query[..., : latent.latent_dim])
    norm = LatentNorm(weights.norm, _EPS)
    kernels.rotate_and_write_latent(
        turned, stored, query, rotary, norm, context.kv_pool, index, plan.slots
    )
    params = config.layers[index].params
    mean = kernels.latent_attention(query, context.kv_pool, index, plan, params, latent.latent_dim)
    values = projected.new_empty(num_tokens, heads, latent.value_dim)
    _multiply_heads(mean, weights.value_up, values)
    return values.flatten(1)


def _multiply_heads(x: torch.Tensor, weights: torch.Tensor, out: torch.Tensor) -> None:
    """[tokens, heads, inputs] x [heads, inputs, outputs] -> out [tokens, heads, outputs]"""
    torch.bmm(x.transpose(0, 1), weights, out=out.transpose(0, 1))
