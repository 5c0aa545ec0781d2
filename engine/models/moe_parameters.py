"""The parameters of a layer of experts: which tensors of a checkpoint make them up.

SEPARATE   experts.0.gate_proj, experts.0.up_proj, experts.1.gate_proj ...     as on the hub
STACKED    experts.gate_up_proj  [experts, 2 * intermediate, hidden]           as computed
MXFP4      experts.gate_up_proj_blocks, experts.gate_up_proj_scales            numbers of 4 bits

Interleaved families have tensors of all experts anyway, [experts, hidden, 2 * intermediate].
"""

from collections.abc import Iterable, Iterator
from enum import Enum, auto

from legato.engine.models.model_config import ModelConfig
from legato.engine.models.moe_config import MoeConfig
from legato.engine.models.parameter import Conversion, Parameter, SourceTensor, linear, single

_STACKED_NAME = ".experts.gate_up_proj"
_MXFP4_NAME = ".experts.gate_up_proj_blocks"
_MXFP4_BLOCK = 32  # numbers
_STACKED_MODULE = "mlp"  # whatever the layer is called elsewhere


class ExpertLayout(Enum):
    """How a checkpoint holds experts."""

    SEPARATE = auto()
    STACKED = auto()
    MXFP4 = auto()


def expert_layout(names: Iterable[str]) -> ExpertLayout:
    """The layout of a checkpoint with tensors of these names."""
    for name in names:
        if name.endswith(_STACKED_NAME):
            return ExpertLayout.STACKED
        if name.endswith(_MXFP4_NAME):
            return ExpertLayout.MXFP4
    return ExpertLayout.SEPARATE


def moe_parameters(config: ModelConfig, layer: int, layout: ExpertLayout) -> Iterator[Parameter]:
    """Those of the layer's experts and of what belongs to them."""
    moe, family, hidden = config.moe, config.family.moe, config.hidden_size
    assert moe is not None and family is not None
    is_stacked = layout is ExpertLayout.STACKED
    name = f"layers.{layer}.mlp"
    module = f"model.layers.{layer}.{_STACKED_MODULE if is_stacked else family.module}"
    router = f"{module}.{family.router}"
    yield single(f"{name}.router", f"{router}.weight", (moe.num_experts, hidden))
    if family.has_biases:
        source = SourceTensor(f"{router}.bias", (moe.num_experts,))
        yield Parameter(f"{name}.router_bias", (source,), is_float32=True)
    if family.has_correction:
        source = SourceTensor(f"{router}.e_score_correction_bias", (moe.num_experts,))
        yield Parameter(f"{name}.correction", (source,), is_float32=True)
    if family.are_interleaved:
        yield from _interleaved(name, f"{module}.experts", moe, hidden, layout)
    elif is_stacked:
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


def _interleaved(
    name: str, module: str, moe: MoeConfig, hidden: int, layout: ExpertLayout
) -> Iterator[Parameter]:
    """Gates and ups take turns, and both products have biases."""
    size = moe.intermediate_size
    for part, num_outputs, num_inputs in (("gate_up", 2 * size, hidden), ("down", hidden, size)):
        source, shape = f"{module}.{part}_proj", (moe.num_experts, num_outputs, num_inputs)
        is_gated = part == "gate_up"
        if layout is ExpertLayout.MXFP4:
            conversion = Conversion(shape, is_interleaved=is_gated, is_mxfp4=True)
            sources = _mxfp4_sources(source, shape)
        else:
            conversion = Conversion(shape, is_transposed=True, is_interleaved=is_gated)
            sources = (SourceTensor(source, (moe.num_experts, num_inputs, num_outputs)),)
        yield Parameter(f"{name}.{part}", sources, conversion=conversion)
        biases = SourceTensor(f"{source}_bias", shape[:2])
        conversion = Conversion(shape[:2], is_interleaved=is_gated)
        yield Parameter(f"{name}.{part}_bias", (biases,), conversion=conversion)


def _mxfp4_sources(name: str, shape: tuple[int, int, int]) -> tuple[SourceTensor, ...]:
    """Blocks and scales of matrices [experts, outputs, inputs]."""
    scales = (*shape[:2], shape[2] // _MXFP4_BLOCK)
    return (
        SourceTensor(f"{name}_blocks", (*scales, _MXFP4_BLOCK // 2), is_bytes=True),
        SourceTensor(f"{name}_scales", scales, is_bytes=True),
    )


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
