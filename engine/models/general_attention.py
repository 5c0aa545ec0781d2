"""The function by which transformers' model code attends, and what it is asked.

    a layer's module --query, key, value, mask--> attend() --> the Attention that the model's
                                                               caller gave along as an option

Transformers finds the function by name, in registries of its own; a model's code hands options
that it does not know down to it. What becomes of a call is up to whoever runs the model: a step
with a block pool (general_network.py), or somebody who only wants to know (general_probe.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface

from legato.engine.errors import ConfigError

# With the second name a model describes the masks that it asks for; with the first there are none.
PAGED = "legato_paged"
DESCRIBED = "legato_described"

OPTION = "legato_attention"


@dataclass(frozen=True, slots=True, eq=False)
class LayerCall:
    """What one layer asks of its attention.

    Attributes:
        query: [1, heads, tokens, key_dim], rotated
        key: [1, kv_heads, tokens, key_dim], rotated
        value: [1, kv_heads, tokens, value_dim]
        mask: what the model made of what it was given
        options: all else by name, scaling for one
    """

    module: nn.Module
    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    mask: Any
    options: Mapping[str, Any]

    @property
    def layer(self) -> int:
        """The layer's number, as transformers counts for its own caches.

        Raises:
            ConfigError: it has none.
        """
        layer = getattr(self.module, "layer_idx", None)
        if not isinstance(layer, int):
            raise ConfigError(f"{type(self.module).__name__} does not know the number of its layer")
        return layer

    @property
    def sinks(self) -> torch.Tensor | None:
        """Scores beside those of the keys, by transformers' name for them; None: there are none."""
        return self.options.get("s_aux")


class Attention(Protocol):
    """Answers the calls of a model's layers."""

    def attend(self, call: LayerCall) -> torch.Tensor:
        """[1, tokens, heads, value_dim]"""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class MaskFunction:
    """What a layer may see, instead of a matrix that says so.

    Attributes:
        sees: (sequence, head, query's position, key's position) -> bool, of tensors of numbers
    """

    sees: Callable[..., torch.Tensor]


def register() -> None:
    """Makes the functions known to transformers."""
    for name in (PAGED, DESCRIBED):
        AttentionInterface.register(name, _attend)
    AttentionMaskInterface.register(DESCRIBED, _describe_mask)


def _attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    attention: Attention | None = options.pop(OPTION, None)
    if attention is None:
        raise ConfigError(f"{type(module).__name__} keeps options from its attention")
    return attention.attend(LayerCall(module, query, key, value, attention_mask, options)), None


def _describe_mask(*, mask_function: Callable[..., torch.Tensor], **_: Any) -> MaskFunction:
    return MaskFunction(mask_function)
