"""The decoder's parameters: which tensors of a checkpoint make up each, and how they join.

Matrices that read the same input are joined along their output rows, so that a layer has one
product where the checkpoint has two or three:

    layers.N.qkv      = q_proj, k_proj, v_proj      [(heads + 2 * kv_heads) * head_dim, hidden]
    layers.N.gate_up  = gate_proj, up_proj          [2 * intermediate, hidden]
    layers.N.qk_norm  = q_norm, k_norm              [2 * head_dim]

Some checkpoints hold them joined already (qkv_proj, gate_up_proj).

Names and shapes only; the tensors themselves are decoder_weights.py's.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from legato.engine.models.model_config import ModelConfig


@dataclass(frozen=True, slots=True)
class SourceTensor:
    """A tensor as the checkpoint names it."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Parameter:
    """Sources joined along dimension 0.

    Attributes:
        offset: what is added to the stored values. With one, the sum may have more digits than
            weights usually have, and is kept in float32.
    """

    name: str
    sources: tuple[SourceTensor, ...]
    offset: float = 0.0

    @property
    def shape(self) -> tuple[int, ...]:
        return (sum(source.shape[0] for source in self.sources), *self.sources[0].shape[1:])


def decoder_parameters(config: ModelConfig) -> list[Parameter]:
    """All parameters of the model, in checkpoint order."""
    vocabulary = (config.vocab_size, config.hidden_size)
    parameters = [_single("embedding", "model.embed_tokens.weight", vocabulary)]
    for layer in range(config.num_layers):
        parameters.extend(_layer_parameters(config, f"layers.{layer}"))
    parameters.append(_norm("final_norm", ("model.norm",), config.hidden_size, config))
    if not config.has_tied_embeddings:
        parameters.append(_single("lm_head", "lm_head.weight", vocabulary))
    return parameters


def _layer_parameters(config: ModelConfig, layer: str) -> Iterator[Parameter]:
    hidden, intermediate = config.hidden_size, config.intermediate_size
    query_size = config.num_heads * config.head_dim
    kv_size = config.num_kv_heads * config.head_dim
    attention, mlp = f"model.{layer}.self_attn", f"model.{layer}.mlp"
    if config.family.has_fused_projections:
        qkv = {f"{attention}.qkv_proj": query_size + 2 * kv_size}
        gate_up = {f"{mlp}.gate_up_proj": 2 * intermediate}
    else:
        qkv = {f"{attention}.q_proj": query_size}
        qkv |= {f"{attention}.k_proj": kv_size, f"{attention}.v_proj": kv_size}
        gate_up = {f"{mlp}.gate_proj": intermediate, f"{mlp}.up_proj": intermediate}
    output, down = {f"{attention}.o_proj": hidden}, {f"{mlp}.down_proj": hidden}

    def norm(name: str, module: str) -> Parameter:
        return _norm(f"{layer}.{name}", (f"model.{layer}.{module}",), hidden, config)

    has_output_norms = config.family.has_output_norms
    yield norm("attention_norm", "input_layernorm")
    yield from _linear(f"{layer}.qkv", qkv, hidden, config.has_qkv_bias)
    if config.family.has_qk_norm:
        modules = (f"{attention}.q_norm", f"{attention}.k_norm")
        yield _norm(f"{layer}.qk_norm", modules, config.head_dim, config)
    yield from _linear(f"{layer}.output", output, query_size, config.has_output_bias)
    if has_output_norms:
        yield norm("output_norm", "post_attention_layernorm")
        yield norm("mlp_norm", "pre_feedforward_layernorm")
    else:
        yield norm("mlp_norm", "post_attention_layernorm")
    yield from _linear(f"{layer}.gate_up", gate_up, hidden, config.has_mlp_bias)
    yield from _linear(f"{layer}.down", down, intermediate, config.has_mlp_bias)
    if has_output_norms:
        yield norm("down_norm", "post_feedforward_layernorm")


def _single(name: str, source: str, shape: tuple[int, ...]) -> Parameter:
    return Parameter(name, (SourceTensor(source, shape),))


def _norm(name: str, modules: tuple[str, ...], dim: int, config: ModelConfig) -> Parameter:
    sources = tuple(SourceTensor(f"{module}.weight", (dim,)) for module in modules)
    return Parameter(name, sources, offset=1.0 if config.family.has_offset_norms else 0.0)


def _linear(
    name: str, output_sizes: Mapping[str, int], input_size: int, has_bias: bool
) -> Iterator[Parameter]:
    """A matrix joined of the modules in `output_sizes`, and its bias."""
    sizes = output_sizes.items()
    yield Parameter(
        name, tuple(SourceTensor(f"{module}.weight", (size, input_size)) for module, size in sizes)
    )
    if has_bias:
        yield Parameter(
            f"{name}_bias", tuple(SourceTensor(f"{module}.bias", (size,)) for module, size in sizes)
        )
