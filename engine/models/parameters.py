"""The decoder's parameters: which tensors of a checkpoint make up each, and how they join.

Matrices that read the same input are joined along their output rows, so that a layer has one
product where the checkpoint has two or three:

    layers.N.qkv          = q_proj, k_proj, v_proj     [(heads + 2 * kv_heads) * head_dim, hidden]
    layers.N.mlp.gate_up  = gate_proj, up_proj         [2 * intermediate, hidden]
    layers.N.qk_norm      = q_norm, k_norm             [2 * head_dim]

Some checkpoints hold them joined already (qkv_proj, gate_up_proj). Those of latent attention are in
latent_parameters.py. Those of the experts of a layer, which are in moe_parameters.py, are joined
one after the other and then cut into one for each.

Names and shapes only; the tensors themselves are decoder_weights.py's.
"""

from collections.abc import Iterator

from legato.engine.models.latent_parameters import latent_parameters
from legato.engine.models.model_config import ModelConfig
from legato.engine.models.moe_parameters import ExpertLayout, moe_parameters
from legato.engine.models.parameter import Parameter, SourceTensor, linear, single


def decoder_parameters(
    config: ModelConfig, layout: ExpertLayout = ExpertLayout.SEPARATE
) -> list[Parameter]:
    """All parameters of the model, in checkpoint order.

    Args:
        layout: of the checkpoint's experts
    """
    vocabulary = (config.vocab_size, config.hidden_size)
    parameters = [single("embedding", "model.embed_tokens.weight", vocabulary)]
    for layer in range(config.num_layers):
        parameters.extend(_attention_parameters(config, f"layers.{layer}"))
        if config.moe is not None and config.moe.layers[layer]:
            parameters.extend(moe_parameters(config, layer, layout))
        else:
            parameters.extend(_mlp_parameters(config, f"layers.{layer}"))
    parameters.append(_norm("final_norm", ("model.norm",), config.hidden_size, config))
    if not config.has_tied_embeddings:
        parameters.append(single("lm_head", "lm_head.weight", vocabulary))
    return parameters


def _attention_parameters(config: ModelConfig, layer: str) -> Iterator[Parameter]:
    """Of attention and of all norms."""
    hidden, latent = config.hidden_size, config.latent

    def norm(name: str, module: str) -> Parameter:
        return _norm(f"{layer}.{name}", (f"model.{layer}.{module}",), hidden, config)

    yield norm("attention_norm", "input_layernorm")
    if latent is None:
        value_dim = config.head_dim
        yield from _projections(config, layer)
    else:
        value_dim = latent.value_dim
        yield from latent_parameters(latent, config.num_heads, hidden, layer)
    output, size = {f"model.{layer}.self_attn.o_proj": hidden}, config.num_heads * value_dim
    yield from linear(f"{layer}.output", output, size, config.has_output_bias)
    if config.family.has_output_norms:
        yield norm("output_norm", "post_attention_layernorm")
        yield norm("mlp_norm", "pre_feedforward_layernorm")
        yield norm("down_norm", "post_feedforward_layernorm")
    else:
        yield norm("mlp_norm", "post_attention_layernorm")


def _projections(config: ModelConfig, layer: str) -> Iterator[Parameter]:
    """Of queries, keys and values."""
    attention = f"model.{layer}.self_attn"
    query_size = config.num_heads * config.head_dim
    kv_size = config.num_kv_heads * config.head_dim
    if config.family.has_fused_projections:
        qkv = {f"{attention}.qkv_proj": query_size + 2 * kv_size}
    else:
        qkv = {f"{attention}.q_proj": query_size}
        qkv |= {f"{attention}.k_proj": kv_size, f"{attention}.v_proj": kv_size}
    yield from linear(f"{layer}.qkv", qkv, config.hidden_size, config.has_qkv_bias)
    if config.has_qk_norm:
        modules = (f"{attention}.q_norm", f"{attention}.k_norm")
        yield _norm(f"{layer}.qk_norm", modules, config.head_dim, config)
    if config.family.has_sinks:
        yield single(f"{layer}.sinks", f"{attention}.sinks", (config.num_heads,))


def _mlp_parameters(config: ModelConfig, layer: str) -> Iterator[Parameter]:
    hidden, intermediate = config.hidden_size, config.intermediate_size
    module, has_bias = f"model.{layer}.mlp", config.has_mlp_bias
    if config.family.has_fused_projections:
        gate_up = {f"{module}.gate_up_proj": 2 * intermediate}
    else:
        gate_up = {f"{module}.gate_proj": intermediate, f"{module}.up_proj": intermediate}
    down = {f"{module}.down_proj": hidden}
    yield from linear(f"{layer}.mlp.gate_up", gate_up, hidden, has_bias)
    yield from linear(f"{layer}.mlp.down", down, intermediate, has_bias)


def _norm(name: str, modules: tuple[str, ...], dim: int, config: ModelConfig) -> Parameter:
    sources = tuple(SourceTensor(f"{module}.weight", (dim,)) for module in modules)
    has_offset = config.family.has_offset_norms
    return Parameter(name, sources, offset=1.0 if has_offset else 0.0, is_float32=has_offset)
