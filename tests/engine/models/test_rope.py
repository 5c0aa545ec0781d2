from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from legato.engine.models.json_file import JsonFile
from legato.engine.models.rope import inverse_frequencies
from legato.engine.models.rope_config import RopeParameters

YARN = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0}
YARN |= {"original_max_position_embeddings": 32768}


@pytest.mark.parametrize(
    "parameters",
    [
        {"rope_type": "default", "rope_theta": 1e6},
        {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0},
        {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        YARN,
        YARN | {"mscale": 1.0, "mscale_all_dim": 0.5},
        YARN | {"beta_fast": 16.0, "beta_slow": 2.0, "attention_factor": 1.25},
    ],
)
def test_frequencies_and_scale_are_those_of_transformers(parameters: dict[str, Any]) -> None:
    config = LlamaConfig(head_dim=128, max_position_embeddings=131072, rope_parameters=parameters)
    reference = LlamaRotaryEmbedding(config)
    fields = {"max_position_embeddings": 131072, "rope_parameters": parameters}
    rope = RopeParameters.read(JsonFile(Path("config.json"), fields))
    torch.testing.assert_close(
        inverse_frequencies(rope, 128), reference.inv_freq, atol=0, rtol=1e-6
    )
    assert rope.attention_factor == pytest.approx(reference.attention_scaling)
