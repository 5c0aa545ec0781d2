"""Triton kernels, CUDA graphs and two steps under way give what the engine gives on a CPU."""

from typing import Any

import pytest
from triton import knobs

from legato.engine.llm import LLM
from legato.engine.sampling_params import SamplingParams
from legato.tests.benchmarks.engine_checks import (
    GREEDY,
    bfloat16_error_ratio,
    greedy_tokens,
    sample_prompts,
    small_llm,
    transformers_tokens,
)
from legato.tests.engine.batches import random_tokens

pytestmark = pytest.mark.gpu


def tokens_of(llm: LLM) -> list[list[int]]:
    tokens = greedy_tokens(llm)
    assert llm.core.stats().num_free_blocks == llm.core.stats().num_total_blocks
    return tokens


@pytest.fixture(scope="module")
def greedy_on_cpu() -> list[list[int]]:
    return tokens_of(small_llm("cpu"))


def test_greedy_tokens_equal_transformers(greedy_on_cpu: list[list[int]]) -> None:
    assert transformers_tokens() == greedy_on_cpu


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"max_num_batched_tokens": 64, "max_num_seqs": 32},
        {"block_size": 16, "enable_prefix_caching": False},
        {"kv_cache_memory_bytes": None, "num_gpu_blocks_override": 40, "max_model_len": 1100},
    ],
    ids=["plain", "chunks", "small blocks", "preemption"],
)
def test_greedy_tokens_equal_the_cpus(
    greedy_on_cpu: list[list[int]], options: dict[str, Any]
) -> None:
    llm = small_llm("cuda", **options)
    assert tokens_of(llm) == greedy_on_cpu
    assert tokens_of(llm) == greedy_on_cpu  # with prefix hits, where they are enabled


def test_draws_filters_penalties_and_logprobs_equal_the_cpus() -> None:
    shared: dict[str, Any] = {"max_tokens": 32, "ignore_eos": True}
    params = [
        SamplingParams(temperature=0.8, top_p=0.9, top_k=50, seed=5, **shared),
        SamplingParams(temperature=1.2, min_p=0.05, seed=6, **shared),
        SamplingParams(temperature=0.7, seed=7, presence_penalty=0.5, **shared),
        SamplingParams(temperature=0, repetition_penalty=1.3, frequency_penalty=0.4, **shared),
        SamplingParams(temperature=0, logit_bias={5: 4.0, 9: -100.0}, logprobs=3, **shared),
        SamplingParams(temperature=1.0, seed=8, top_k=1, logprobs=0, **shared),
        SamplingParams(temperature=0, min_tokens=10, max_tokens=32),
        SamplingParams(temperature=0.9, seed=1 << 62, top_p=0.3, **shared),
        SamplingParams(temperature=0.9, seed=-3, **shared),
        SamplingParams(temperature=0, **shared),
    ]
    outputs = [
        small_llm(device).generate(sample_prompts(), params, use_tqdm=False)
        for device in ("cpu", "cuda")
    ]
    for on_cpu, on_gpu in zip(*outputs, strict=True):
        assert on_gpu.outputs[0].token_ids == on_cpu.outputs[0].token_ids
        assert (on_gpu.outputs[0].logprobs is None) == (on_cpu.outputs[0].logprobs is None)
        for wanted, found in zip(
            on_cpu.outputs[0].logprobs or (), on_gpu.outputs[0].logprobs or (), strict=True
        ):
            assert list(found) == list(wanted)
            for token_id, logprob in found.items():
                assert logprob.rank == wanted[token_id].rank
                assert logprob.logprob == pytest.approx(wanted[token_id].logprob, abs=1e-3)


def test_bfloat16_logits_are_as_exact_as_transformers_own() -> None:
    assert bfloat16_error_ratio() <= 2


def test_nothing_is_compiled_while_serving() -> None:
    llm = small_llm("cuda", dtype="bfloat16", max_num_seqs=16)
    compiled: list[str] = []

    def note(*, key: str, repr: str, **_: object) -> bool:
        compiled.append(repr)
        return False

    with knobs.runtime.scope():
        knobs.runtime.jit_cache_hook = note
        for lengths in ([1], [40], [64] * 3, [1, 2, 70, 900], [1500], [1900] * 5 + [3] * 9):
            prompts = [random_tokens(length, length, 2000) for length in lengths]
            llm.generate(prompts, GREEDY, use_tqdm=False)
        drawn = SamplingParams(temperature=0.8, top_p=0.9, max_tokens=5, presence_penalty=0.3)
        llm.generate([random_tokens(30)], drawn, use_tqdm=False)
    assert compiled == []


def test_a_batch_that_shrinks_and_grows_stays_exact(greedy_on_cpu: list[list[int]]) -> None:
    counts = [3, 48, 7, 20, 48, 1, 12, 33, 5, 40]
    params = [SamplingParams(temperature=0, max_tokens=count, ignore_eos=True) for count in counts]
    llm = small_llm("cuda", max_num_seqs=6)
    outputs = llm.generate(sample_prompts(), params, use_tqdm=False)
    for output, answer, count in zip(outputs, greedy_on_cpu, counts, strict=True):
        assert list(output.outputs[0].token_ids) == answer[:count]
