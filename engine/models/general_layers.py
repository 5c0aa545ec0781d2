"""How a layer of transformers' code attends, from what it asks of its attention.

Paged attention knows causal masks and windows. What a layer sees is not believed but tried: its
mask is a function of two positions, and either it is one of these or the model is refused.
"""

from dataclasses import dataclass
from typing import Any

import torch

from legato.engine.errors import ConfigError
from legato.engine.models.general_attention import LayerCall, MaskFunction
from legato.kernels.attention_params import AttentionParams

# Of what layers hand to their attention, what the result does not depend on - the window among
# them, which their masks tell.
_IRRELEVANT = {
    "dropout",
    "is_causal",
    "output_attentions",
    "output_hidden_states",
    "position_embeddings",
    "position_ids",
    "return_dict",
    "sliding_window",
    "use_cache",
}


@dataclass(frozen=True, slots=True)
class LayerShape:
    """Heads of one layer, and what they are made of."""

    num_heads: int
    num_kv_heads: int
    key_dim: int
    value_dim: int


def read_shape(call: LayerCall) -> LayerShape:
    """The call's heads."""
    return LayerShape(
        call.query.shape[1], call.key.shape[1], call.key.shape[3], call.value.shape[3]
    )


def read_params(call: LayerCall, max_context_len: int) -> AttentionParams:
    """What the call asks for.

    Raises:
        ConfigError: paged attention cannot do it.
    """
    options = dict(call.options)
    scale = _number(options, "scaling") or call.query.shape[3] ** -0.5
    softcap = _number(options, "softcap")
    options.pop("s_aux", None)
    if call.sinks is not None and call.sinks.shape != call.query.shape[1:2]:
        raise ConfigError("its attention has more than one sink for each head")
    unknown = {name for name, value in options.items() if value is not None} - _IRRELEVANT
    if unknown:
        raise ConfigError(f"its attention wants {sorted(unknown)[0]}, which ours does not know")
    if not options.get("is_causal", getattr(call.module, "is_causal", True)):
        raise ConfigError("its attention looks ahead")
    return AttentionParams(scale, _window(call.mask, max_context_len), softcap)


def _number(options: dict[str, Any], name: str) -> float | None:
    value = options.pop(name, None)
    if value is None or isinstance(value, int | float):
        return None if value is None else float(value)
    raise ConfigError(f"its attention's {name} is not the same for all tokens")


def _window(mask: object, max_context_len: int) -> int | None:
    """Tokens that a query sees, itself included; None: all before it."""
    if not isinstance(mask, MaskFunction):
        raise ConfigError("it makes attention masks in a way of its own")
    last = max_context_len - 1
    window = int(_seen(mask, last, max_context_len).sum())
    for query in {0, 1, window - 1, window, last // 2, last}:
        if 0 <= query <= last:
            keys = torch.arange(max_context_len)
            in_window = (keys <= query) & (keys > query - window)
            if not torch.equal(_seen(mask, query, max_context_len), in_window):
                raise ConfigError(
                    "its attention sees neither all that is before nor a window of it"
                )
    return window if window < max_context_len else None


def _seen(mask: MaskFunction, query: int, num_keys: int) -> torch.Tensor:
    """[num_keys] whether the query sees each key."""
    zero = torch.tensor(0)
    return mask.sees(zero, zero, torch.tensor(query), torch.arange(num_keys)).expand(num_keys)
