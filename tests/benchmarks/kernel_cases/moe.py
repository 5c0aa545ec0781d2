"""Layers of experts, from the router's logits to the sum in the residual stream: routing, both
products, weighted sums. Few tokens by the bytes of the experts that they choose, many by FLOP.

Logits are random, so experts are used evenly but for chance; "skewed" ones like some experts more.
tune_experts.py times the products apart.
"""

from dataclasses import dataclass
from functools import cache, partial

import torch

from legato.kernels import experts as twin
from legato.kernels.expert_weights import ExpertWeights
from legato.kernels.gpu.expert_routing import route_tokens
from legato.kernels.gpu.experts import add_chosen_experts_
from legato.kernels.routing_params import RoutingParams
from legato.tests.benchmarks.kernel_case import KernelCase, Prepared, Unit

DEVICE, DTYPE = torch.device("cuda"), torch.bfloat16
NUM_LAYERS = 3  # whose weights take turns; the smallest has 1.2 GB
MIN_CALLS = 8  # kernels of a graph overlap: so that the first and the last do not count
NUM_CHECKED = 64  # tokens
SKEW = 1.5  # of experts' mean logits, whose own spread is one
MAX_DECODE_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Shape:
    name: str
    num_experts: int
    top_k: int
    hidden: int
    dim: int

    @property
    def params(self) -> RoutingParams:
        return RoutingParams(top_k=self.top_k, renormalizes=True)

    @property
    def bytes_of_expert(self) -> int:
        return 3 * self.hidden * self.dim * DTYPE.itemsize

    def flop(self, num_tokens: int) -> int:
        return 2 * 3 * self.hidden * self.dim * self.top_k * num_tokens


MIXTRAL = Shape("Mixtral 8x7B", num_experts=8, top_k=2, hidden=4096, dim=14336)
QWEN = Shape("Qwen3-30B-A3B", num_experts=128, top_k=8, hidden=2048, dim=768)


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    gate_up: torch.Tensor
    down: torch.Tensor


def random(*shape: int, scale: float = 1.0) -> torch.Tensor:
    return torch.empty(shape, dtype=DTYPE, device=DEVICE).normal_(0, scale)


@cache
def layers_of(shape: Shape) -> list[Layer]:
    experts, hidden, dim = shape.num_experts, shape.hidden, shape.dim
    return [
        Layer(
            random(experts, 2 * dim, hidden, scale=hidden**-0.5),
            random(experts, hidden, dim, scale=dim**-0.5),
        )
        for _ in range(NUM_LAYERS)
    ]


def make_logits(shape: Shape, num_tokens: int, skew: float) -> torch.Tensor:
    spread = torch.randn(num_tokens, shape.num_experts, device=DEVICE)
    return spread + skew * torch.randn(shape.num_experts, device=DEVICE)


def mean_bytes(shape: Shape, all_logits: list[torch.Tensor]) -> float:
    """Of the experts that a call reads."""
    counts = [
        route_tokens(logits, None, None, shape.params).expert_ids.unique().numel()
        for logits in all_logits
    ]
    return float(shape.bytes_of_expert * sum(counts) / len(counts))


def error_ratio(shape: Shape, num_tokens: int, logits: torch.Tensor) -> float:
    """Of some tokens: our root mean square error over that of torch's products."""
    layer, x = layers_of(shape)[0], random(num_tokens, shape.hidden)
    residual = random(num_tokens, shape.hidden)
    ours, theirs = residual.clone(), residual[:NUM_CHECKED].clone()
    exact, weights = theirs.double(), ExpertWeights(layer.gate_up, layer.down)
    routes = route_tokens(logits, None, None, shape.params)
    add_chosen_experts_(x, logits, None, None, shape.params, weights, ours)
    checked = twin.ExpertRoutes(routes.expert_ids[:NUM_CHECKED], routes.weights[:NUM_CHECKED])
    twin.add_experts_(x[:NUM_CHECKED], checked, weights, theirs)
    doubles = ExpertWeights(layer.gate_up.double(), layer.down.double())
    twin.add_experts_(x[:NUM_CHECKED].double(), checked, doubles, exact)
    ours_norm = (ours[:NUM_CHECKED].double() - exact).norm()
    return float(ours_norm / (theirs.double() - exact).norm())


def prepare(shape: Shape, num_tokens: int, skew: float = 0.0) -> Prepared:
    layers = layers_of(shape)
    x, residual = random(num_tokens, shape.hidden), random(num_tokens, shape.hidden)
    all_logits = [make_logits(shape, num_tokens, skew) for _ in range(MIN_CALLS)]

    def run(logits: torch.Tensor, layer: Layer) -> None:
        experts = ExpertWeights(layer.gate_up, layer.down)
        add_chosen_experts_(x, logits, None, None, shape.params, experts, residual)

    calls = [
        partial(run, logits, layers[index % NUM_LAYERS]) for index, logits in enumerate(all_logits)
    ]
    ratio = error_ratio(shape, num_tokens, all_logits[0])
    is_decode = num_tokens <= MAX_DECODE_TOKENS
    work = mean_bytes(shape, all_logits) if is_decode else shape.flop(num_tokens)
    return Prepared(calls, ratio, work)


def prepare_routing(shape: Shape, num_tokens: int) -> Prepared:
    logits = make_logits(shape, num_tokens, 0.0)
    wanted = twin.route_tokens(logits, None, None, shape.params)
    routes = route_tokens(logits, None, None, shape.params)
    assert torch.equal(routes.expert_ids, wanted.expert_ids)
    torch.testing.assert_close(routes.weights, wanted.weights)
    order = routes.expert_ids.flatten()[routes.pairs.long()].tolist()
    assert order == sorted(order)
    return Prepared([partial(route_tokens, logits, None, None, shape.params)] * MIN_CALLS, None)


def _case(
    shape: Shape, num_tokens: int, must: float | None, aim: float | None, skew: float = 0.0
) -> KernelCase:
    unit = Unit.READ_SHARE if num_tokens <= MAX_DECODE_TOKENS else Unit.TFLOPS
    name = f"MoE, {shape.name}, m={num_tokens}{', skewed' if skew else ''}"
    return KernelCase(name, unit, partial(prepare, shape, num_tokens, skew), must, aim)


CASES = [
    *(_case(shape, m, 70, 85) for shape in (MIXTRAL, QWEN) for m in (1, 32, 128)),
    *(_case(shape, m, 400, 520) for shape in (MIXTRAL, QWEN) for m in (2048, 4096, 8192)),
    _case(QWEN, 32768, 400, 520),
    *(_case(QWEN, m, None, None, SKEW) for m in (8, 32, 8192)),
    *(
        KernelCase(
            f"routing, {QWEN.name}, m={m}", Unit.MICROSECONDS, partial(prepare_routing, QWEN, m)
        )
        for m in (1, 32, 128, 8192)
    ),
]
