from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, Phi3Config
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.models.phi3.modeling_phi3 import Phi3RotaryEmbedding

from legato.engine.models.json_file import JsonFile
from legato.engine.models.rope import inverse_frequencies
from legato.engine.models.rope_config import RopeParameters, read_ropes

PHI3_SIZES: dict[str, Any] = {
    "hidden_size": 512,
    "num_attention_heads": 4,
    "max_position_embeddings": 4096,
    "original_max_position_embeddings": 1024,
}


def read(fields: dict[str, Any]) -> RopeParameters:
    return read_ropes(JsonFile(Path("config.json"), fields), head_dim=128, has_local_rope=False)[0]


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
    rope = read({"max_position_embeddings": 131072, "rope_parameters": parameters})
    torch.testing.assert_close(
        inverse_frequencies(rope, 128), reference.inv_freq, atol=0, rtol=1e-6
    )
    assert rope.attention_factor == pytest.approx(reference.attention_scaling)


@pytest.mark.parametrize("share", [1.0, 0.75])
@pytest.mark.parametrize("more", [{}, {"factor": 32.0}, {"attention_factor": 1.19}])
@pytest.mark.parametrize("max_model_len", [1024, 1025])
def test_a_longrope_is_short_up_to_the_original_length(
    share: float, more: dict[str, float], max_model_len: int
) -> None:
    num_factors = int(128 * share) // 2
    parameters = {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "partial_rotary_factor": share,
        "short_factor": [1 + index / 100 for index in range(num_factors)],
        "long_factor": [1 + index for index in range(num_factors)],
        **more,
    }
    fields: dict[str, Any] = PHI3_SIZES | {"rope_parameters": parameters}
    rope = read(fields).for_length(max_model_len)
    reference = Phi3RotaryEmbedding(Phi3Config(**fields))
    reference(torch.zeros(1), torch.tensor([[max_model_len - 1]]))  # chooses by the length
    torch.testing.assert_close(
        inverse_frequencies(rope, 128), reference.inv_freq, atol=0, rtol=1e-6
    )
    assert rope.attention_factor == pytest.approx(reference.attention_scaling)
    assert rope.context_len(4096) == 4096
