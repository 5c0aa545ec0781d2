from pathlib import Path
from typing import Any

import pytest

from legato.engine.config import EngineConfig
from legato.engine.errors import ConfigError


def read(name: str, value: Any) -> Any:
    config = EngineConfig.from_options({name: value})
    parts = (config.model, config.cache, config.scheduler, config.parallel)
    (part,) = (part for part in parts if hasattr(part, name))
    return getattr(part, name)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("max_num_seqs", "12", 12),
        ("max_num_seqs", 12, 12),
        ("max_model_len", "8k", 8000),
        ("max_model_len", "8K", 8192),
        ("kv_cache_memory_bytes", "2G", 2 << 30),
        ("gpu_memory_utilization", "0.5", 0.5),
        ("gpu_memory_utilization", 1, 1.0),
        ("enable_prefix_caching", "No", False),
        ("enable_prefix_caching", True, True),
        ("dtype", "float32", "float32"),
        ("model", Path("some/where"), "some/where"),
    ],
)
def test_text_is_read_as_the_type_of_the_field(name: str, given: Any, expected: Any) -> None:
    value = read(name, given)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize("given", [None, "none", "null", ""])
def test_an_optional_value_can_be_none(given: str | None) -> None:
    assert read("max_model_len", given) is None


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("max_num_seqs", "many", "max_num_seqs must be a whole number"),
        ("max_num_seqs", 1.5, "max_num_seqs must be a whole number"),
        ("max_num_seqs", True, "max_num_seqs must be a whole number"),
        ("max_num_seqs", None, "max_num_seqs must be a whole number"),
        ("max_num_seqs", 0, "max_num_seqs must be at least 1, not 0"),
        ("max_num_seqs", "9" * 5000, "max_num_seqs must be a whole number"),
        ("gpu_memory_utilization", "nan", "gpu_memory_utilization must be a number"),
        ("gpu_memory_utilization", 10**400, "gpu_memory_utilization must be a number"),
        ("gpu_memory_utilization", 1.2, "gpu_memory_utilization must be at most 1, not 1.2"),
        ("enable_prefix_caching", "maybe", "enable_prefix_caching must be true or false"),
        ("enable_prefix_caching", 1, "enable_prefix_caching must be true or false"),
        ("dtype", "int3", "dtype must be one of auto, bfloat16, float16, float32, not 'int3'"),
        ("dtype", "", "dtype must not be empty"),
        ("tokenizer", 7, "tokenizer must be text"),
    ],
)
def test_a_value_of_no_use_is_refused_by_name(name: str, given: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(name, given)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"unknown option block_sise \(did you mean block_size"):
        EngineConfig.from_options({"block_sise": 16})
