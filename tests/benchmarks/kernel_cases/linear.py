"""Linear layers of a whole Llama 8B, one after the other, with weights of their own: 15 GB.

The must and the aim are for all of them together, as a decode step runs them; cuBLAS's rows have
its products alone, while ours also gate and add. tune_linear.py times single layers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F

from legato.kernels import linear as twins
from legato.kernels.gpu import linear as gpu
from legato.kernels.gpu.norm import rms_norm
from legato.tests.benchmarks.kernel_case import KernelCase, Prepared, Unit

DEVICE = torch.device("cuda")
NUM_LAYERS, HIDDEN, QKV, MLP, VOCABULARY = 32, 4096, 6144, 14336, 128256
EPS = 1e-5
MUST_US = {1: 4340.0, 8: 4420.0, 16: 4420.0}
AIM_US = 3900.0


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    norm: torch.Tensor
    qkv: torch.Tensor
    output: torch.Tensor
    gate_up: torch.Tensor
    down: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """The same for all layers: only the weights are cold, as in a model."""

    hidden: torch.Tensor
    gated: torch.Tensor
    residual: torch.Tensor


Step = Callable[[Layer, Inputs], object]


def _random(*shape: int, scale: float = 1.0) -> torch.Tensor:
    return torch.empty(shape, dtype=torch.bfloat16, device=DEVICE).normal_(0, scale)


@cache
def _layers() -> list[Layer]:
    shapes = ((QKV, HIDDEN), (HIDDEN, HIDDEN), (2 * MLP, HIDDEN), (HIDDEN, MLP))
    return [
        Layer(_random(HIDDEN), *(_random(*shape, scale=0.02) for shape in shapes))
        for _ in range(NUM_LAYERS)
    ]


@cache
def _head() -> torch.Tensor:
    return _random(VOCABULARY, HIDDEN, scale=0.02)


def _inputs(num_tokens: int) -> Inputs:
    widths = (HIDDEN, MLP, HIDDEN)
    return Inputs(*(_random(num_tokens, width) for width in widths))


def _step_ours(layer: Layer, inputs: Inputs) -> None:
    gpu.linear(inputs.hidden, layer.qkv, None)
    gpu.linear_add_(inputs.hidden, layer.output, None, inputs.residual)
    gpu.gated_linear(inputs.hidden, layer.gate_up, None)
    gpu.linear_add_(inputs.gated, layer.down, None, inputs.residual)


def _step_cublas(layer: Layer, inputs: Inputs) -> None:
    F.linear(inputs.hidden, layer.qkv)
    F.linear(inputs.hidden, layer.output)
    F.linear(inputs.hidden, layer.gate_up)
    F.linear(inputs.gated, layer.down)


def _step_norm_kernels(layer: Layer, inputs: Inputs) -> None:
    gpu.linear(rms_norm(inputs.residual, layer.norm, EPS), layer.qkv, None)
    gpu.linear_add_(inputs.hidden, layer.output, None, inputs.residual)
    gpu.gated_linear(rms_norm(inputs.residual, layer.norm, EPS), layer.gate_up, None)
    gpu.linear_add_(inputs.gated, layer.down, None, inputs.residual)


def _prepare(num_tokens: int, step: Step, checks: bool) -> Prepared:
    layers, head, inputs = _layers(), _head(), _inputs(num_tokens)
    multiply = F.linear if step is _step_cublas else gpu.linear

    def run_model() -> None:
        for layer in layers:
            step(layer, inputs)
        multiply(inputs.hidden, head, None)

    return Prepared([run_model], _worst_error_ratio(num_tokens) if checks else 1.0)


def _worst_error_ratio(num_tokens: int) -> float:
    """Of all products of a layer and the head: root mean square errors."""
    layer, head, inputs = _layers()[0], _head(), _inputs(num_tokens)
    hidden, gated, residual = inputs.hidden, inputs.gated, inputs.residual
    ours = residual.clone(), residual.clone()
    gpu.linear_add_(hidden, layer.output, None, ours[0])
    gpu.linear_add_(gated, layer.down, None, ours[1])
    return max(
        _error_ratio(gpu.linear(hidden, layer.qkv, None), F.linear, hidden, layer.qkv),
        _error_ratio(gpu.linear(hidden, head, None), F.linear, hidden, head),
        _error_ratio(ours[0], _add, residual, hidden, layer.output),
        _error_ratio(ours[1], _add, residual, gated, layer.down),
        _error_ratio(gpu.gated_linear(hidden, layer.gate_up, None), _gated, hidden, layer.gate_up),
    )


def _add(residual: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return residual + F.linear(x, weight)


def _gated(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return twins.gated_linear(x, weight, None)


def _error_ratio(
    actual: torch.Tensor, textbook: Callable[..., torch.Tensor], *inputs: torch.Tensor
) -> float:
    exact = textbook(*(x.double() for x in inputs))
    return float((actual - exact).norm() / (textbook(*inputs) - exact).norm())


def _case(
    name: str, num_tokens: int, step: Step, must: float | None = None, aim: float | None = None
) -> KernelCase:
    checks = step is _step_ours
    return KernelCase(
        f"8B's linear layers, {name}, m={num_tokens}",
        Unit.MICROSECONDS,
        lambda: _prepare(num_tokens, step, checks),
        must,
        aim,
    )


CASES = [
    *(
        _case("ours", m, _step_ours, MUST_US.get(m), AIM_US if m in MUST_US else None)
        for m in (1, 8, 16, 32, 64, 128)
    ),
    *(_case("cuBLAS", m, _step_cublas) for m in (1, 8, 16, 32, 64, 128)),
    *(_case("with norm kernels", m, _step_norm_kernels) for m in (1, 8, 16)),
]
