"""Sizes of latent attention, where all heads share one small vector for each token.

stored of a token    | latent | rope |     the latter turned by the token's position
a head's key         | plain | rope |      the former made of the latent, the latter as it is stored
a head's value       | value |             made of the latent
"""

from dataclasses import dataclass

from legato.engine.errors import ConfigError
from legato.engine.models.json_file import JsonFile


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentConfig:
    """Dimensions of one token's vectors.

    Attributes:
        query_rank: of the vector that queries are made of; None: they are made of the hidden state
        plain_dim, rope_dim: of a head's query and key: what does not turn, and what does
        value_dim: of a head
        has_pairs: dimension 2 i of what turns does so with 2 i + 1, not with the half's other end
    """

    query_rank: int | None
    latent_dim: int
    plain_dim: int
    rope_dim: int
    value_dim: int
    has_pairs: bool

    @property
    def key_dim(self) -> int:
        """Of a head's query and key."""
        return self.plain_dim + self.rope_dim

    @property
    def stored_dim(self) -> int:
        """Of what the KV cache holds of a token."""
        return self.latent_dim + self.rope_dim


def read_latent(config: JsonFile) -> LatentConfig:
    """Raises ConfigError if config.json lacks a size, or asks for what is not supported."""
    if config.get("attention_bias", bool, False):
        raise ConfigError(f"{config.path}: attention_bias is not supported for this architecture")
    rope_dim = config.positive("qk_rope_head_dim")
    if rope_dim % 2:
        raise ConfigError(f"{config.path}: qk_rope_head_dim {rope_dim} is odd")
    has_rank = config.fields.get("q_lora_rank") is not None
    return LatentConfig(
        query_rank=config.positive("q_lora_rank") if has_rank else None,
        latent_dim=config.positive("kv_lora_rank"),
        plain_dim=config.positive("qk_nope_head_dim"),
        rope_dim=rope_dim,
        value_dim=config.positive("v_head_dim"),
        has_pairs=config.get("rope_interleave", bool, True),
    )
