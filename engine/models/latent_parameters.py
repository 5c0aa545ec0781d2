"""The parameters of latent attention: which tensors of a checkpoint make them up.

layers.N.qkv                = q_a_proj or q_proj, kv_a_proj_with_mqa
layers.N.latent.query_norm  = q_a_layernorm   \\ where queries have a rank
layers.N.latent.query       = q_b_proj        /
layers.N.latent.norm        = kv_a_layernorm
layers.N.latent.expand      = kv_b_proj, head after head: what makes its key, then its value
"""

from collections.abc import Iterator

from legato.engine.models.latent_config import LatentConfig
from legato.engine.models.parameter import Parameter, linear, single


def latent_parameters(
    latent: LatentConfig, num_heads: int, hidden_size: int, layer: str
) -> Iterator[Parameter]:
    """Those of the layer ("layers.N") that lie before its output projection."""
    module = f"model.{layer}.self_attn"
    query_size, rank = num_heads * latent.key_dim, latent.query_rank
    query = {f"{module}.q_proj": query_size} if rank is None else {f"{module}.q_a_proj": rank}
    stored = {f"{module}.kv_a_proj_with_mqa": latent.stored_dim}
    yield from linear(f"{layer}.qkv", query | stored, hidden_size, has_bias=False)
    name = f"{layer}.latent"
    if rank is not None:
        yield single(f"{name}.query_norm", f"{module}.q_a_layernorm.weight", (rank,))
        yield single(f"{name}.query", f"{module}.q_b_proj.weight", (query_size, rank))
    yield single(f"{name}.norm", f"{module}.kv_a_layernorm.weight", (latent.latent_dim,))
    expanded = num_heads * (latent.plain_dim + latent.value_dim)
    shape = (expanded, latent.latent_dim)
    yield single(f"{name}.expand", f"{module}.kv_b_proj.weight", shape)
