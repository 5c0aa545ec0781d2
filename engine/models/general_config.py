"""A model that transformers' own code computes, in one frozen value.

Found out by a run without weights (general_probe.py): sizes are those of the tensors that the
model hands to its attention, not what config.json calls them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from legato.kernels.attention_params import AttentionParams


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneralConfig:
    """A causal language model whose attention can be ours; see ServedConfig.

    Attributes:
        head_dim: the larger of a key's and a value's, to which the other is padded
        layers: how each layer attends
        trusts_code: Python code among the model's files may be run
        rope_len: tokens that ropes with factors for short and for long sequences are set for
    """

    architecture: str
    vocab_size: int
    hidden_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    layers: tuple[AttentionParams, ...]
    max_context_len: int
    dtype: str
    eos_token_ids: tuple[int, ...]
    sampling_defaults: Mapping[str, float]
    trusts_code: bool
    rope_len: int

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    @property
    def has_head(self) -> bool:
        """It is a model for generation."""
        return True

    @property
    def latent_dim(self) -> None:
        """Keys and values are stored as the model makes them."""
        return None

    @property
    def windows(self) -> tuple[int | None, ...]:
        """The windows that layers have, each once."""
        return tuple(dict.fromkeys(layer.window for layer in self.layers))

    def for_length(self, max_model_len: int) -> "GeneralConfig":
        """The model as an engine serves it whose sequences have at most so many tokens."""
        return replace(self, rope_len=max_model_len)
