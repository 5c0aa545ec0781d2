from pathlib import Path
from typing import Any

import pytest

from legato.engine.errors import ConfigError
from legato.engine.models.json_file import JsonFile
from legato.engine.models.rope_config import RopeParameters, read_ropes

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
YARN = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0}
YARN |= {"original_max_position_embeddings": 32768}


LONGROPE = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4}


def read_all(has_local_rope: bool, **fields: Any) -> tuple[RopeParameters, ...]:
    config = JsonFile(Path("config.json"), {"max_position_embeddings": 4096, **fields})
    return read_ropes(config, head_dim=8, has_local_rope=has_local_rope)


def read(**fields: Any) -> RopeParameters:
    (rope,) = read_all(False, **fields)
    return rope


def test_no_rope_fields_mean_the_default() -> None:
    assert read() == RopeParameters(type="default", theta=10000.0)


def test_linear_and_yarn_stretch_the_context() -> None:
    assert read(rope_scaling={"type": "linear", "factor": 4.0}).context_len(4096) == 16384
    assert read(rope_parameters=YARN).context_len(40960) == 131072
    assert read(rope_parameters=LLAMA3).context_len(131072) == 131072


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"rope_type": "dynamic", "factor": 2.0}, "rope type dynamic is not supported"),
        ({"rope_type": "linear"}, "lacks the field factor"),
        ({"partial_rotary_factor": 0.4}, "partial_rotary_factor 0.4 of head_dim 8 is no even"),
        ({"partial_rotary_factor": 0.1}, "partial_rotary_factor 0.1 of head_dim 8 is no even"),
        (LONGROPE | {"long_factor": [1.0] * 3}, "long_factor has 3 entries, not 4"),
        (LONGROPE | {"short_factor": [1.0, "2", 1.0, 1.0]}, "short_factor is no list of positive"),
        ({"rope_type": "longrope", "short_factor": [1.0] * 4}, "lacks the field long_factor"),
        ({"full_attention": {"rope_type": "default"}}, "by layer type"),
    ],
)
def test_what_is_not_supported_is_said(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(rope_parameters=parameters)


def test_a_share_of_the_dimensions_turns() -> None:
    assert read(partial_rotary_factor=0.5).rotary_dim(8) == 4
    assert read(rope_parameters={"partial_rotary_factor": 0.75}).rotary_dim(8) == 6


@pytest.mark.parametrize("old_name", ["su", "yarn"])
def test_old_names_of_longrope_mean_the_same(old_name: str) -> None:
    old = {"type": old_name, "short_factor": [1] * 4, "long_factor": [2] * 4}
    sizes = {"original_max_position_embeddings": 1024}
    assert read(rope_scaling=old, **sizes) == read(rope_parameters=LONGROPE, **sizes)
    assert read(rope_scaling=old, **sizes).original_max_position == 1024


def test_layers_with_a_window_may_have_a_rope_of_their_own() -> None:
    linear = {"rope_type": "linear", "factor": 8.0}
    old = read_all(True, rope_theta=1e6, rope_local_base_freq=5e3, rope_scaling=linear)
    by_type = {"sliding_attention": {"rope_theta": 5e3}, "full_attention": linear}
    new = read_all(True, rope_theta=1e6, rope_local_base_freq=1e4, rope_parameters=by_type)
    assert old == new
    assert [rope.theta for rope in old] == [1e6, 5e3]
    assert [rope.factor for rope in old] == [8.0, 1.0]
