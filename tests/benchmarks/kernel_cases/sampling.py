"""Sampling and log probabilities of a large vocabulary, with logits that L2 does not hold."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from legato.kernels import logprobs as logprobs_twin
from legato.kernels import sampling as sampling_twin
from legato.kernels.gpu.logprobs import token_logprobs
from legato.kernels.gpu.sampling import sample
from legato.kernels.gpu.sampling_config import SamplingConfig, candidates
from legato.kernels.sampling_rows import SamplingRows
from legato.tests.benchmarks.gpu_timing import num_cold_copies
from legato.tests.benchmarks.kernel_case import KernelCase, Prepared, Unit
from legato.tests.kernels.asked_rows import padding_rows

VOCAB_SIZE = 151_936
NUM_TOP = 20
MAX_BIASES = 64
DEVICE = torch.device("cuda")
# A row or two may differ from the twin, whose float32 sums put a top-p boundary elsewhere.
MIN_AGREEMENT = 0.96

RowsChange = Callable[[SamplingRows], SamplingRows]


def greedy(rows: SamplingRows) -> SamplingRows:
    return rows


def tempered(rows: SamplingRows) -> SamplingRows:
    seeds = torch.arange(rows.num_rows, device=DEVICE)
    return replace(rows, temperatures=torch.full_like(rows.temperatures, 0.8), seeds=seeds)


def filtered(rows: SamplingRows) -> SamplingRows:
    return replace(
        tempered(rows),
        top_ks=torch.full_like(rows.top_ks, 50),
        top_ps=torch.full_like(rows.top_ps, 0.95),
        min_ps=torch.full_like(rows.min_ps, 0.02),
    )


def top_p_alone(rows: SamplingRows) -> SamplingRows:
    return replace(tempered(rows), top_ps=torch.full_like(rows.top_ps, 0.9))


def adjusted(rows: SamplingRows) -> SamplingRows:
    """Greedy rows with everything that changes logits."""
    counts = torch.zeros(rows.num_rows, VOCAB_SIZE, dtype=torch.int16, device=DEVICE)
    counts[:, ::100] = 1
    return replace(
        rows,
        count_slots=torch.arange(rows.num_rows, dtype=torch.int32, device=DEVICE),
        token_counts=counts,
        repetition_penalties=torch.full_like(rows.repetition_penalties, 1.2),
        has_mask=torch.ones_like(rows.has_mask),
        bias_token_ids=torch.arange(MAX_BIASES, device=DEVICE).int().repeat(rows.num_rows, 1),
        num_biases=torch.full_like(rows.num_biases, MAX_BIASES),
    )


def random_logits(num_rows: int, dtype: torch.dtype, spread: float) -> list[torch.Tensor]:
    """As many as have to take turns."""
    count = num_cold_copies(num_rows * VOCAB_SIZE * dtype.itemsize)
    shape = (num_rows, VOCAB_SIZE)
    return [torch.randn(shape, device=DEVICE).mul_(spread).to(dtype) for _ in range(min(count, 64))]


def prepare_sampling(
    num_rows: int,
    dtype: torch.dtype,
    change: RowsChange,
    spread: float = 3.0,
    config: SamplingConfig | None = None,
) -> Prepared:
    rows = change(padding_rows(num_rows, VOCAB_SIZE, 1, MAX_BIASES, DEVICE))
    inputs = random_logits(num_rows, dtype, spread)
    agrees = sample(inputs[0], rows, config=config) == sampling_twin.sample(inputs[0], rows)
    assert float(agrees.float().mean()) >= MIN_AGREEMENT
    return Prepared([partial(sample, logits, rows, config=config) for logits in inputs], None)


def prepare_logprobs(num_rows: int, dtype: torch.dtype) -> Prepared:
    inputs = random_logits(num_rows, dtype, 3.0)
    token_ids = torch.arange(num_rows, device=DEVICE)
    ours = token_logprobs(inputs[0], token_ids, NUM_TOP)
    twins = logprobs_twin.token_logprobs(inputs[0], token_ids, NUM_TOP)
    assert torch.equal(ours[1], twins[1])
    exact = inputs[0].double().log_softmax(dim=-1).gather(1, token_ids[:, None])[:, 0]
    our_error, twin_error = ((part[0] - exact).abs().max() for part in (ours, twins))
    calls = [partial(token_logprobs, logits, token_ids, NUM_TOP) for logits in inputs]
    return Prepared(calls, float(our_error / twin_error.clamp(min=1e-6)))


def tuning_cases(num_rows: int, dtype: torch.dtype, change: RowsChange) -> list[KernelCase]:
    """One case for each configuration that is worth measuring."""
    return [
        KernelCase(
            f"sampling b={num_rows} {change.__name__} {config}",
            Unit.MICROSECONDS,
            partial(prepare_sampling, num_rows, dtype, change, config=config),
        )
        for config in candidates(num_rows, VOCAB_SIZE)
    ]


def _case(
    name: str,
    prepare: Callable[[], Prepared],
    must: float | None = None,
    aim: float | None = None,
) -> KernelCase:
    return KernelCase(f"sampling, V=152k, {name}", Unit.MICROSECONDS, prepare, must, aim)


_FP32, _BF16 = torch.float32, torch.bfloat16

CASES: list[KernelCase] = [
    _case("b=64, greedy", partial(prepare_sampling, 64, _FP32, greedy), 20, 13),
    _case("b=64, top-k + top-p + min-p", partial(prepare_sampling, 64, _FP32, filtered), 300, 150),
    _case("b=64, greedy, bf16", partial(prepare_sampling, 64, _BF16, greedy)),
    _case("b=64, temperature", partial(prepare_sampling, 64, _FP32, tempered)),
    _case("b=64, top-p, flat", partial(prepare_sampling, 64, _FP32, top_p_alone, 1.0)),
    _case("b=64, penalties, mask, bias", partial(prepare_sampling, 64, _FP32, adjusted)),
    _case("b=1, greedy", partial(prepare_sampling, 1, _FP32, greedy)),
    _case("b=1, top-k + top-p + min-p", partial(prepare_sampling, 1, _FP32, filtered)),
    _case("b=64, 20 logprobs", partial(prepare_logprobs, 64, _FP32)),
]
