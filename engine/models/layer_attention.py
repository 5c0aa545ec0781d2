"""How each layer attends: what its window is, its rope, and what bounds its scores.

layers:   window  window  all  window  window  all ...     Gemma
          all     all     all  window  window  window      Qwen 2
"""

from dataclasses import dataclass, replace

from legato.engine.errors import ConfigError
from legato.engine.models.families import DecoderFamily, WindowPattern
from legato.engine.models.json_file import JsonFile
from legato.kernels.attention_params import AttentionParams

_WINDOWED = "sliding_attention"
_LAYER_TYPES = (_WINDOWED, "full_attention")
_ASKED_FOR = (WindowPattern.LATE, WindowPattern.ASKED_FOR, WindowPattern.EARLY)


@dataclass(frozen=True, slots=True)
class LayerAttention:
    params: AttentionParams
    rope_index: int  # among the model's ropes

    def scaled(self, factor: float) -> "LayerAttention":
        """The same with scores so many times as large."""
        return replace(self, params=replace(self.params, scale=self.params.scale * factor))


def read_layers(
    config: JsonFile, family: DecoderFamily, head_dim: int, max_context_len: int
) -> tuple[LayerAttention, ...]:
    """The attention of each layer.

    Raises:
        ConfigError: config.json asks for what is not supported.
    """
    _refuse_unsupported(config, family, max_context_len)
    scale = config.get("query_pre_attn_scalar", float, float(head_dim)) ** -0.5
    softcap = config.get("attn_logit_softcapping", float, 0.0) or None
    are_windowed = _are_windowed(config, family.windows)
    window = _window(config, max_context_len) if any(are_windowed) else None

    def layer(is_windowed: bool) -> LayerAttention:
        params = AttentionParams(
            scale=scale, window=window if is_windowed else None, softcap=softcap
        )
        return LayerAttention(params, int(is_windowed and family.has_local_rope))

    return tuple(map(layer, are_windowed))


def _window(config: JsonFile, max_context_len: int) -> int | None:
    """None where there is none, or nothing is ever outside of it."""
    if config.fields.get("sliding_window") is None:
        return None
    window = config.positive("sliding_window")
    return window if window < max_context_len else None


def _are_windowed(config: JsonFile, pattern: WindowPattern) -> list[bool]:
    """For each layer, whether it is one of those that have a window if there is any."""
    layers = range(config.positive("num_hidden_layers"))
    if pattern in _ASKED_FOR and not config.get("use_sliding_window", bool, False):
        pattern = WindowPattern.NONE
    if pattern in (WindowPattern.NONE, WindowPattern.ALL, WindowPattern.ASKED_FOR):
        return [pattern is not WindowPattern.NONE for _ in layers]
    if config.fields.get("layer_types") is not None:
        return _listed(config, len(layers))
    if pattern is WindowPattern.PERIODIC:
        period = config.positive("sliding_window_pattern")
        return [(layer + 1) % period != 0 for layer in layers]
    limit = config.get("max_window_layers", int)
    if pattern is WindowPattern.EARLY:
        return [layer % 2 == 0 and layer < limit for layer in layers]
    return [layer >= limit for layer in layers]


def _listed(config: JsonFile, num_layers: int) -> list[bool]:
    types = config.get("layer_types", list)
    if unknown := [name for name in types if name not in _LAYER_TYPES]:
        raise ConfigError(
            f"{config.path}: layer type {unknown[0]} is not supported"
            f" ({' and '.join(_LAYER_TYPES)} are)"
        )
    if len(types) != num_layers:
        raise ConfigError(
            f"{config.path}: layer_types lists {len(types)} layers, not {num_layers} as"
            " num_hidden_layers says"
        )
    return [name == _WINDOWED for name in types]


def _refuse_unsupported(config: JsonFile, family: DecoderFamily, max_context_len: int) -> None:
    if config.get("use_bidirectional_attention", bool, False):
        raise ConfigError(f"{config.path}: use_bidirectional_attention is not supported")
    if family.windows is not WindowPattern.NONE:
        return
    is_asked_for = config.get("use_sliding_window", bool, True)
    window = _window(config, max_context_len) if is_asked_for else None
    if window is not None:
        raise ConfigError(
            f"{config.path}: sliding_window {window} is not supported for this architecture"
        )
