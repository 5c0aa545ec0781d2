"""The engine's configuration: frozen, composed of small parts, named as vLLM names its flags.

Every field carries its help text, so that the command line, YAML and the offline `LLM` class are
read from this one table. The module knows nothing of a model's own config.json.
"""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from legato.engine.errors import ConfigError
from legato.engine.option_values import option_value

T = TypeVar("T")


def option(
    default: Any,
    text: str,
    choices: tuple[str, ...] = (),
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    secret: bool = False,
) -> Any:
    """A configuration field: its default, its help text and which values it allows.

    A secret one is left out of the configuration's repr, and so of every log line.
    """
    limits = {"minimum": minimum, "maximum": maximum}
    metadata = {"help": text, "choices": choices, **limits}
    return field(default=default, repr=not secret, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """Model"""

    model: str = option("", "directory in Hugging Face layout, or a hub id")
    tokenizer: str | None = option(
        None, "directory or hub id of the tokenizer; default: the model's"
    )
    skip_tokenizer_init: bool = option(False, "take and give token ids only")
    dtype: str = option(
        "auto",
        "type of weights and KV cache; auto: the checkpoint's on a GPU, float32 on a CPU",
        ("auto", "bfloat16", "float16", "float32"),
    )
    max_model_len: int | None = option(
        None, "longest prompt and answer, in tokens; default: the model's", minimum=1
    )
    load_format: str = option(
        "auto", "where weights come from; dummy: random ones", ("auto", "safetensors", "dummy")
    )
    trust_remote_code: bool = option(
        False, "run Python code that comes with the model's files, if it needs any"
    )
    seed: int = option(0, "seed of dummy weights")
    device: str = option("auto", "auto: the GPU if there is one", ("auto", "cpu", "cuda"))


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheOptions:
    """KV cache"""

    block_size: int | None = option(
        None, "tokens in a KV block; default: 64 on a GPU, 16 on a CPU", minimum=1
    )
    gpu_memory_utilization: float = option(
        0.9, "share of the GPU's memory that one worker may use", minimum=0.01, maximum=1
    )
    kv_cache_memory_bytes: int | None = option(
        None,
        "size of the KV cache; default: what is left on a GPU, at most 4 GiB on a CPU",
        minimum=1,
    )
    num_gpu_blocks_override: int | None = option(
        None, "number of KV blocks, instead of a size", minimum=1
    )
    enable_prefix_caching: bool = option(True, "keep KV blocks of earlier prompts for reuse")


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerOptions:
    """Scheduling"""

    max_num_seqs: int = option(256, "sequences in one step at most", minimum=1)
    max_num_batched_tokens: int | None = option(
        None, "token budget of one step; default: 8192 on a GPU, 1024 on a CPU", minimum=1
    )
    max_num_queued_reqs: int = option(
        1024, "sequences that may wait for one worker before 503", minimum=0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelOptions:
    """Parallelism"""

    tensor_parallel_size: int = option(1, "GPUs that share one copy of the model", minimum=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Everything that one engine is told."""

    model: ModelOptions = field(default_factory=ModelOptions)
    cache: CacheOptions = field(default_factory=CacheOptions)
    scheduler: SchedulerOptions = field(default_factory=SchedulerOptions)
    parallel: ParallelOptions = field(default_factory=ParallelOptions)

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> "EngineConfig":
        """Builds the configuration from flat names, as `LLM(model=..., block_size=...)` gives them.

        Raises:
            ConfigError: a name is unknown (the message names the nearest) or a value is not usable.
        """
        return compose(cls, options)


def nearest_name(name: str, known: Iterable[str]) -> str:
    """' (did you mean ...?)' for the known name nearest to `name`, or an empty string."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {matches[0]}?)" if matches else ""


def option_fields(config_class: type) -> dict[str, tuple[str, dataclasses.Field[Any]]]:
    """Flat option name -> (name of the part that holds it, field), of a composed configuration."""
    return {
        option_field.name: (part.name, option_field)
        for part in dataclasses.fields(config_class)
        for option_field in dataclasses.fields(part.type)  # type: ignore[arg-type]
    }


def compose(config_class: type[T], options: Mapping[str, Any]) -> T:
    """Builds a composed configuration from flat options.

    Raises:
        ConfigError: a name is unknown (the message names the nearest), or a value is not allowed.
    """
    fields = option_fields(config_class)
    values: dict[str, dict[str, Any]] = {}
    for name, value in options.items():
        if name not in fields:
            raise ConfigError(f"unknown option {name}{nearest_name(name, fields)}")
        part, option_field = fields[name]
        values.setdefault(part, {})[name] = option_value(option_field, value)
    parts = {part.name: part.type for part in dataclasses.fields(config_class)}  # type: ignore[arg-type]
    return config_class(**{name: part(**values.get(name, {})) for name, part in parts.items()})  # type: ignore[operator]
