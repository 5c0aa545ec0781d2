"""Finds out how transformers' code computes a model, by running it on tensors without contents.

config.json -> transformers' config -> model on the meta device -> one run that notes what each
layer asks of its attention -> GeneralConfig

No weights are read. What the run does not show - that tokens meet each other in the attention alone
- is tried once the weights are there (general_trial.py).
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

from legato.engine.errors import ConfigError
from legato.engine.models.common_fields import (
    checkpoint_dtype,
    eos_token_ids,
    read_generation,
    sampling_defaults,
)
from legato.engine.models.general_attention import DESCRIBED, LayerCall, register
from legato.engine.models.general_config import GeneralConfig
from legato.engine.models.general_layers import LayerShape, read_params, read_shape
from legato.engine.models.general_parts import ModelParts
from legato.engine.models.general_trial import trial
from legato.engine.models.json_file import JsonFile
from legato.engine.models.quantization import refuse_quantized
from legato.kernels.attention_params import AttentionParams

_NUM_TOKENS = 3
_LAYER_TYPES = ("full_attention", "sliding_attention")


class CallRecorder:
    """Notes what layers ask of their attention, and answers with something of the right shape."""

    def __init__(self) -> None:
        self.calls: list[LayerCall] = []

    def attend(self, call: LayerCall) -> torch.Tensor:
        self.calls.append(call)
        heads, tokens = call.query.shape[1:3]
        return call.value.new_empty(1, tokens, heads, call.value.shape[3])


def probe_model(directory: Path, trusts_code: bool) -> GeneralConfig:
    """Whether and how a model can be served by transformers' code.

    Raises:
        ConfigError: it cannot be; the message says why.
    """
    file = JsonFile.read(directory / "config.json")
    refuse_quantized(file)
    dtype, generation = checkpoint_dtype(file), read_generation(directory)
    names = ", ".join(map(str, file.get("architectures", list, []))) or "a model"
    try:
        config = read_config(directory, trusts_code)
        _refuse_unsuited(config)
        max_context_len = _max_context_len(config)
        model = _build(config, trusts_code)
        _refuse_foreign(model, file)
        sizes, layers, shape = _run(model, max_context_len)
    except ConfigError as error:
        raise ConfigError(f"{file.path}: {names} cannot be served: {error}") from None
    return GeneralConfig(
        architecture=type(model).__name__,
        vocab_size=sizes[1],
        hidden_size=sizes[0],
        num_heads=shape.num_heads,
        num_kv_heads=shape.num_kv_heads,
        head_dim=max(shape.key_dim, shape.value_dim),
        layers=layers,
        max_context_len=max_context_len,
        dtype=dtype,
        eos_token_ids=eos_token_ids(generation, file),
        sampling_defaults=sampling_defaults(generation),
        trusts_code=trusts_code,
        rope_len=max_context_len,
    )


def read_config(directory: Path, trusts_code: bool) -> PreTrainedConfig:
    """Transformers' own config.

    Raises:
        ConfigError: it cannot read the file, or needs code that is not trusted.
    """
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            directory, trust_remote_code=trusts_code, local_files_only=True
        )
    except Exception as error:  # it raises nearly anything
        raise ConfigError(_reason(error, trusts_code)) from None
    return config


def _reason(error: Exception, trusts_code: bool) -> str:
    first_line = str(error).strip().partition("\n")[0] or type(error).__name__
    if "custom code" in first_line and not trusts_code:
        return (
            "it needs Python code that comes with its files: read that, and give"
            " --trust-remote-code if you trust it"
        )
    return f"transformers says: {first_line}"


def _refuse_unsuited(config: PreTrainedConfig) -> None:
    if getattr(config, "is_encoder_decoder", False):
        raise ConfigError("it has an encoder; models that are decoders alone are served")
    text = config.get_text_config(decoder=True)
    types = getattr(text, "layer_types", None) or ()
    if others := [name for name in types if name not in _LAYER_TYPES]:
        raise ConfigError(
            f"it has layers of type {others[0]}; models that keep nothing but keys and values of"
            f" each token ({' and '.join(_LAYER_TYPES)}) are served"
        )
    ropes = getattr(text, "rope_parameters", None) or {}
    kinds = [ropes, *(rope for rope in ropes.values() if isinstance(rope, dict))]
    if any(rope.get("rope_type") == "dynamic" for rope in kinds):
        raise ConfigError(
            "a dynamic rope turns keys anew that are stored already; the same model with yarn or"
            " linear scaling in rope_parameters is served"
        )


def _max_context_len(config: PreTrainedConfig) -> int:
    longest = getattr(config.get_text_config(decoder=True), "max_position_embeddings", None)
    if not isinstance(longest, int) or longest < 1:
        raise ConfigError("its config names no max_position_embeddings")
    return longest


def _build(config: PreTrainedConfig, trusts_code: bool) -> PreTrainedModel:
    try:
        with torch.device("meta"):
            model: PreTrainedModel = AutoModelForCausalLM.from_config(
                config, attn_implementation="eager", trust_remote_code=trusts_code
            )
    except Exception as error:
        raise ConfigError(_reason(error, trusts_code)) from None
    model.eval()
    return model


def _refuse_foreign(model: PreTrainedModel, file: JsonFile) -> None:
    kind = type(model)
    if kind.__name__ not in file.get("architectures", list, [kind.__name__]):
        raise ConfigError(f"it is no {kind.__name__}, which is what generates text of its kind")
    if getattr(kind, "_is_stateful", False):
        raise ConfigError(
            "it keeps a state beside keys and values; models of attention alone are served"
        )
    if not kind._supports_attention_backend:
        raise ConfigError(
            "its code has an attention of its own, which cannot be replaced; models whose code"
            " goes through transformers' attention interface are served"
        )


def _skip_experts(_experts: nn.Module, hidden: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
    """Where tokens go depends on values, and what comes back has the same shape anyway."""
    return torch.empty_like(hidden)


def _run(
    model: PreTrainedModel, max_context_len: int
) -> tuple[tuple[int, int], tuple[AttentionParams, ...], LayerShape]:
    """Sizes of hidden states and logits, how each layer attends, and the heads of all of them."""
    register()
    ALL_EXPERTS_FUNCTIONS.register(DESCRIBED, _skip_experts)
    model.set_attn_implementation(DESCRIBED)
    model.set_experts_implementation(DESCRIBED)
    parts, recorder = ModelParts.of(model), CallRecorder()
    with trial("a run without values"), torch.device("meta"):
        token_ids = torch.zeros(_NUM_TOKENS, dtype=torch.int64)
        # A mask that hides nothing, or transformers would look for borders in the positions.
        options: dict[str, Any] = {"attention_mask": torch.ones(1, _NUM_TOKENS)}
        hidden = parts.hidden(token_ids, token_ids, recorder, **options)
    layers, shape = _read_layers(recorder.calls, model.config, max_context_len)
    with trial("a run without values"), torch.device("meta"):
        logits = parts.logits(hidden)
    if hidden.shape[0] != _NUM_TOKENS or logits.shape[0] != _NUM_TOKENS:
        raise ConfigError("its code does not give one row of logits for each token")
    return (hidden.shape[1], logits.shape[1]), layers, shape


def _read_layers(
    calls: list[LayerCall], config: PreTrainedConfig, max_context_len: int
) -> tuple[tuple[AttentionParams, ...], LayerShape]:
    """How each layer attends, and the heads that are the same in all of them."""
    num_layers = config.get_text_config(decoder=True).num_hidden_layers
    if [call.layer for call in calls] != list(range(num_layers)):
        raise ConfigError(
            f"its {num_layers} layers do not attend once each, one after the other"
            f" ({len(calls)} calls)"
        )
    shapes = {read_shape(call) for call in calls}
    if len(shapes) > 1:
        raise ConfigError("its layers have heads of different numbers or sizes")
    return tuple(read_params(call, max_context_len) for call in calls), shapes.pop()
