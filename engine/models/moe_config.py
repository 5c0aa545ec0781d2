"""Which layers have experts, how many, and how tokens choose among them.

layers:   dense  experts  experts  dense  experts ...

The dense ones are listed, or the first few, or all but every so many.
"""

from dataclasses import dataclass

from legato.engine.errors import ConfigError
from legato.engine.models.families import MoeFamily
from legato.engine.models.json_file import JsonFile
from legato.kernels.activation_kind import Activation, ClampedGate
from legato.kernels.routing_params import GroupLimit, RoutingParams

_CLAMPED_LIMIT, _CLAMPED_SLOPE = 7.0, 1.702  # where config.json does not say
_NUM_EXPERTS_FIELDS = ("num_local_experts", "num_experts", "n_routed_experts")


@dataclass(frozen=True, slots=True)
class MoeConfig:
    """Layers that are mixtures of experts.

    Attributes:
        intermediate_size: of one expert
        shared_intermediate_size: of the expert that all tokens use; None: there is none
        layers: of each of the model's, whether it has experts
        gate: None: silu(gate) * up
    """

    num_experts: int
    intermediate_size: int
    shared_intermediate_size: int | None
    layers: tuple[bool, ...]
    routing: RoutingParams
    gate: ClampedGate | None


def read_moe(
    config: JsonFile, family: MoeFamily | None, activation: Activation
) -> MoeConfig | None:
    """None for a family without experts.

    Raises:
        ConfigError: config.json lacks a size, or asks for what is not supported.
    """
    if family is None:
        return None
    if activation is not Activation.SILU:
        raise ConfigError(f"{config.path}: experts gated by {activation.value} are not supported")
    num_experts = _num_experts(config)
    size = config.positive("moe_intermediate_size", config.positive("intermediate_size"))
    return MoeConfig(
        num_experts=num_experts,
        intermediate_size=size,
        shared_intermediate_size=_shared_size(config, family, size),
        layers=_have_experts(config),
        routing=_routing(config, family, num_experts),
        gate=_clamped_gate(config) if family.has_clamped_gate else None,
    )


def _clamped_gate(config: JsonFile) -> ClampedGate:
    limit = config.get("swiglu_limit", float, _CLAMPED_LIMIT)
    return ClampedGate(limit, config.get("swiglu_alpha", float, _CLAMPED_SLOPE))


def _num_experts(config: JsonFile) -> int:
    for name in _NUM_EXPERTS_FIELDS:
        if name in config.fields:
            return config.positive(name)
    raise ConfigError(f"{config.path} lacks the field {_NUM_EXPERTS_FIELDS[0]}")


def _shared_size(config: JsonFile, family: MoeFamily, expert_size: int) -> int | None:
    """Given as it is, or as a number of usual experts that are one."""
    if family.shared_expert is None:
        return None
    if "n_shared_experts" in config.fields:
        return config.positive("n_shared_experts") * expert_size
    return config.positive("shared_expert_intermediate_size")


def _have_experts(config: JsonFile) -> tuple[bool, ...]:
    dense = config.get("mlp_only_layers", list, [])
    step = config.positive("decoder_sparse_step", 1)
    if config.positive("moe_layer_freq", 1) != 1:
        raise ConfigError(f"{config.path}: moe_layer_freq other than 1 is not supported")
    first = config.get("first_k_dense_replace", int, 0)
    layers = range(config.positive("num_hidden_layers"))
    return tuple(
        layer >= first and layer not in dense and (layer + 1) % step == 0 for layer in layers
    )


def _routing(config: JsonFile, family: MoeFamily, num_experts: int) -> RoutingParams:
    top_k = config.positive("num_experts_per_tok")
    if top_k > num_experts:
        raise ConfigError(
            f"{config.path}: num_experts_per_tok is {top_k}, but there are {num_experts} experts"
        )
    renormalizes = family.renormalizes
    if renormalizes is None:
        renormalizes = config.get("norm_topk_prob", bool, False)
    return RoutingParams(
        top_k=top_k,
        scoring=family.scoring,
        renormalizes=renormalizes,
        weight_scale=config.get("routed_scaling_factor", float, 1.0),
        groups=_groups(config, family, num_experts),
    )


def _groups(config: JsonFile, family: MoeFamily, num_experts: int) -> GroupLimit | None:
    num_groups = config.positive("n_group", 1)
    if num_groups == 1 or config.get("topk_method", str, "") == "greedy":
        return None
    num_chosen = config.positive("topk_group")
    group_size = num_experts // num_groups
    top_k = config.positive("num_experts_per_tok")
    fits = num_chosen <= num_groups and group_size >= family.num_counted
    if not fits or num_experts % num_groups or top_k > num_chosen * group_size:
        raise ConfigError(
            f"{config.path}: {top_k} experts cannot be chosen out of {num_chosen} groups where"
            f" {num_groups} groups share {num_experts} experts"
        )
    return GroupLimit(num_groups, num_chosen, family.num_counted)
