"""What serving needs to know of a model, whichever code computes it."""

from collections.abc import Mapping
from typing import Protocol, Self


class ServedConfig(Protocol):
    """A model's sizes and what generation needs to know; a frozen value.

    Attributes:
        architecture: as config.json names it
        hidden_size: of the hidden states that logits are made from
        head_dim: of what the KV cache holds
        latent_dim: of what is stored, what values are the weighted mean of; None: values are stored
        windows: that layers have, as in AttentionParams, each once
        has_head: or logits mean nothing, and it can make embeddings alone
        max_context_len: positions, prompt and answer together
        dtype: of the checkpoint, one of DTYPE_BYTES
        sampling_defaults: of generation_config.json, by SamplingParams' names
    """

    @property
    def architecture(self) -> str: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def num_layers(self) -> int: ...
    @property
    def num_heads(self) -> int: ...
    @property
    def num_kv_heads(self) -> int: ...
    @property
    def head_dim(self) -> int: ...
    @property
    def latent_dim(self) -> int | None: ...
    @property
    def windows(self) -> tuple[int | None, ...]: ...
    @property
    def has_head(self) -> bool: ...
    @property
    def max_context_len(self) -> int: ...
    @property
    def dtype(self) -> str: ...
    @property
    def eos_token_ids(self) -> tuple[int, ...]: ...
    @property
    def sampling_defaults(self) -> Mapping[str, float]: ...

    def for_length(self, max_model_len: int) -> Self:
        """The model as an engine serves it whose sequences have at most so many tokens."""
        ...
