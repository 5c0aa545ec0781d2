from pathlib import Path
from typing import Any

import pytest

from legato.engine.errors import ConfigError
from legato.engine.models.json_file import JsonFile
from legato.engine.models.rope_config import RopeParameters

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


def read(**fields: Any) -> RopeParameters:
    return RopeParameters.read(
        JsonFile(Path("config.json"), {"max_position_embeddings": 4096, **fields})
    )


def test_no_rope_fields_mean_the_default() -> None:
    assert read() == RopeParameters(type="default", theta=10000.0)


def test_linear_and_yarn_stretch_the_context() -> None:
    assert read(rope_scaling={"type": "linear", "factor": 4.0}).context_len(4096) == 16384
    assert read(rope_parameters=YARN).context_len(40960) == 131072
    assert read(rope_parameters=LLAMA3).context_len(131072) == 131072


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"rope_type": "longrope", "factor": 2.0}, "rope type longrope is not supported"),
        ({"rope_type": "linear"}, "lacks the field factor"),
        ({"rope_type": "default", "partial_rotary_factor": 0.5}, "partial_rotary_factor 0.5"),
        ({"full_attention": {"rope_type": "default"}}, "by layer type"),
    ],
)
def test_what_is_not_supported_is_said(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(rope_parameters=parameters)
