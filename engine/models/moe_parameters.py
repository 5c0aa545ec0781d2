"""The parameters of a layer of experts: which tensors of a checkpoint make them up.

SEPARATE   experts.0.gate_proj, experts.0.up_proj, experts.1.gate_proj ...     as on the hub
STACKED    experts.gate_up_proj  [experts, 2 * intermediate, hidden]           as computed
"""

from collections.abc import Iterable, Iterator
from enum import Enum, auto

from legato.engine.models.model_config import ModelConfig
from legato.engine.models.moe_config import MoeConfig
from legato.engine.models.parameter import Parameter, SourceTensor, linear, single

_STACKED_NAME = ".experts.gate_up_proj"
_STACKED_MODULE = "mlp"  # whatever the layer is called elsewhere


class ExpertLayout(Enum):
    """How a checkpoint holds experts."""

    SEPARATE = auto()
    STACKED = auto()


def expert_layout(names: Iterable[str]) -> ExpertLayout:
    """The layout of a checkpoint with tensors of these names."""
    is_stacked = any(name.endswith(_STACKED_NAME) for name in names)
    return ExpertLayout.STACKED if is_stacked else ExpertLayout.SEPARATE


def moe_parameters(config: ModelConfig, layer: int, layout: ExpertLayout) -> Iterator[Parameter]:
    """Those of the layer's experts and of what belongs to them."""
    moe, family, hidden = config.moe, config.family.moe, config.hidden_size
    assert moe is not None and family is not None
    is_stacked = layout is ExpertLayout.STACKED
    name = f"layers.{layer}.mlp"
    module = f"model.layers.{layer}.{_STACKED_MODULE if is_stacked else family.module}"
    yield single(f"{name}.router", f"{module}.gate.weight", (moe.num_experts, hidden))
    if family.has_correction:
        source = SourceTensor(f"{module}.gate.e_score_correction_bias", (moe.num_experts,))
        yield Parameter(f"{name}.correction", (source,), is_float32=True)
    if is_stacked:
        yield from _stacked(name, f"{module}.experts", moe, hidden)
    else:
        yield from _separate(name, f"{module}.experts", family.projections, moe, hidden)
    if family.shared_expert is not None and moe.shared_intermediate_size is not None:
        size, shared = moe.shared_intermediate_size, f"{module}.{family.shared_expert}"
        gate_up = {f"{shared}.gate_proj": size, f"{shared}.up_proj": size}
        yield from linear(f"{name}.shared.gate_up", gate_up, hidden, False)
        yield from linear(f"{name}.shared.down", {f"{shared}.down_proj": hidden}, size, False)
        if family.has_shared_gate:
            yield single(f"{name}.shared_gate", f"{shared}_gate.weight", (1, hidden))


def _stacked(name: str, module: str, moe: MoeConfig, hidden: int) -> Iterator[Parameter]:
    count, size = moe.num_experts, moe.intermediate_size
    yield single(f"{name}.gate_up", f"{module}.gate_up_proj", (count, 2 * size, hidden))
    yield single(f"{name}.down", f"{module}.down_proj", (count, hidden, size))


def _separate(
    name: str, module: str, projections: tuple[str, str, str], moe: MoeConfig, hidden: int
) -> Iterator[Parameter]:
    (gate, up, down), size = projections, moe.intermediate_size

    def join(names: tuple[str, ...], shape: tuple[int, int]) -> tuple[SourceTensor, ...]:
        return tuple(
            SourceTensor(f"{module}.{expert}.{projection}.weight", shape)
            for expert in range(moe.num_experts)
            for projection in names
        )

    gate_up = join((gate, up), (size, hidden))
    yield Parameter(f"{name}.gate_up", gate_up, num_stacked=moe.num_experts)
    yield Parameter(f"{name}.down", join((down,), (hidden, size)), num_stacked=moe.num_experts)
