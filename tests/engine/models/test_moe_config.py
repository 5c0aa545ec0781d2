from pathlib import Path
from typing import Any

import pytest

from legato.engine.errors import ConfigError
from legato.engine.models.families import FAMILIES
from legato.engine.models.json_file import JsonFile
from legato.engine.models.moe_config import MoeConfig, read_moe
from legato.kernels.activation_kind import Activation
from legato.kernels.routing_params import GroupLimit, RoutingParams, Scoring

SIZES = {"num_hidden_layers": 6, "intermediate_size": 50, "num_experts_per_tok": 2}


def read(
    architecture: str, activation: Activation = Activation.SILU, **fields: Any
) -> MoeConfig | None:
    config = JsonFile(Path("config.json"), SIZES | fields)
    return read_moe(config, FAMILIES[architecture].moe, activation)


def moe(architecture: str, **fields: Any) -> MoeConfig:
    found = read(architecture, **fields)
    assert found is not None
    return found


def test_dense_families_have_no_experts() -> None:
    assert read("LlamaForCausalLM") is None


def test_the_number_of_experts_has_two_names() -> None:
    assert moe("Qwen3MoeForCausalLM", num_experts=9).num_experts == 9
    assert moe("Qwen3MoeForCausalLM", num_local_experts=9).num_experts == 9


def test_experts_are_as_large_as_an_mlp_unless_another_size_is_given() -> None:
    assert moe("MixtralForCausalLM", num_local_experts=4).intermediate_size == 50
    config = moe("Qwen3MoeForCausalLM", num_experts=4, moe_intermediate_size=7)
    assert config.intermediate_size == 7
    assert config.shared_intermediate_size is None


@pytest.mark.parametrize(
    ("fields", "dense"),
    [
        ({}, []),
        ({"mlp_only_layers": [0, 3]}, [0, 3]),
        ({"decoder_sparse_step": 2}, [0, 2, 4]),
        ({"decoder_sparse_step": 3, "mlp_only_layers": [5]}, [0, 1, 3, 4, 5]),
        ({"first_k_dense_replace": 2}, [0, 1]),
    ],
)
def test_some_layers_may_be_dense(fields: dict[str, Any], dense: list[int]) -> None:
    layers = moe("Qwen3MoeForCausalLM", num_experts=4, **fields).layers
    assert [layer for layer, has_experts in enumerate(layers) if not has_experts] == dense


def test_whether_weights_add_up_to_one_is_the_familys_or_the_files() -> None:
    assert moe("MixtralForCausalLM", num_local_experts=4).routing.renormalizes
    assert not moe("Qwen3MoeForCausalLM", num_experts=4).routing.renormalizes
    fields = {"num_experts": 4, "norm_topk_prob": True, "shared_expert_intermediate_size": 3}
    config = moe("Qwen2MoeForCausalLM", **fields)
    assert config.routing.renormalizes
    assert config.routing.top_k == 2
    assert config.shared_intermediate_size == 3


def test_some_families_choose_among_groups_and_scale_weights() -> None:
    fields = {"n_routed_experts": 12, "moe_intermediate_size": 7, "n_shared_experts": 2}
    config = moe("Glm4MoeForCausalLM", **fields, routed_scaling_factor=2.5, n_group=3, topk_group=2)
    assert config.num_experts == 12
    assert config.shared_intermediate_size == 14
    assert config.routing == RoutingParams(
        top_k=2,
        scoring=Scoring.SIGMOID,
        weight_scale=2.5,
        groups=GroupLimit(num_groups=3, num_chosen=2, num_counted=2),
    )
    assert moe("Glm4MoeForCausalLM", **fields, n_group=1).routing.groups is None


@pytest.mark.parametrize(
    "fields",
    [
        {"n_group": 5, "topk_group": 1},
        {"n_group": 4, "topk_group": 5},
        {"n_group": 12, "topk_group": 3},
        {"n_group": 6, "topk_group": 1, "num_experts_per_tok": 3},
    ],
)
def test_groups_that_leave_too_few_experts_are_refused(fields: dict[str, Any]) -> None:
    sizes = {"n_routed_experts": 12, "n_shared_experts": 1}
    with pytest.raises(ConfigError, match=r"groups share 12 experts"):
        read("Glm4MoeForCausalLM", **sizes | fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "lacks the field num_local_experts"),
        ({"num_experts": 0}, "num_experts must be at least 1"),
        ({"num_experts": 1}, "num_experts_per_tok is 2, but there are 1 experts"),
        ({"num_experts": 4, "num_experts_per_tok": None}, "lacks the field num_experts_per_tok"),
        (
            {"num_experts": 4, "activation": Activation.GELU_TANH},
            "experts gated by gelu_pytorch_tanh are not supported",
        ),
    ],
)
def test_what_is_missing_or_not_supported_is_said(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read("Qwen3MoeForCausalLM", **fields)
