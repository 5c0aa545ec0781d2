"""A model with two steps under way, as on a GPU, answers what it answers with one."""

import random
from typing import Any

import pytest

from legato.engine import model_runner
from legato.engine.builtin_model import builtin_model_directory
from legato.engine.llm import LLM
from legato.engine.sampling_params import (
    MAX_BAD_SEQUENCES,
    MAX_LOGIT_BIAS,
    MAX_STOP_TOKEN_IDS,
    SamplingParams,
)

SHARED: dict[str, Any] = {"max_tokens": 40, "ignore_eos": True}
PARAMS = [
    SamplingParams(temperature=0, **SHARED),
    SamplingParams(temperature=0.8, top_p=0.9, top_k=50, seed=5, **SHARED),
    SamplingParams(temperature=0.7, seed=7, presence_penalty=0.5, **SHARED),
    SamplingParams(temperature=0, repetition_penalty=1.3, frequency_penalty=0.4, **SHARED),
    SamplingParams(temperature=0, logit_bias={5: 4.0, 9: -100.0}, logprobs=3, **SHARED),
    SamplingParams(temperature=0, min_tokens=10, max_tokens=60),
    SamplingParams(temperature=0, max_tokens=60),  # ends when the model says so
    SamplingParams(temperature=0.9, seed=-3, max_tokens=7, ignore_eos=True),
    SamplingParams(temperature=0, max_tokens=1),
]


def prompts() -> list[list[int]]:
    rng = random.Random(3)
    return [
        [rng.randrange(2000) for _ in range(length)] for length in (1, 7, 16, 17, 40, 3, 90, 5, 2)
    ]


def answers(**options: Any) -> list[tuple[Any, ...]]:
    llm = LLM(str(builtin_model_directory()), device="cpu", skip_tokenizer_init=True, **options)
    outputs = llm.generate(prompts(), PARAMS, use_tqdm=False)
    stats = llm.core.stats()
    assert stats.num_free_blocks == stats.num_total_blocks
    return [
        (answer.token_ids, answer.logprobs, answer.finish_reason)
        for output in outputs
        for answer in output.outputs
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"num_gpu_blocks_override": 200},
        {"num_gpu_blocks_override": 200, "max_num_seqs": 3},
        {"num_gpu_blocks_override": 200, "max_num_batched_tokens": 16},
        {"num_gpu_blocks_override": 14, "max_model_len": 160},
    ],
    ids=["plain", "few at a time", "chunks", "preemption"],
)
def test_two_steps_under_way_change_no_answer(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    wanted = answers(**options)
    monkeypatch.setitem(model_runner._PIPELINE_DEPTH, "cpu", 2)
    assert answers(**options) == wanted


def test_all_the_biases_and_bans_that_a_request_may_have_fit() -> None:
    llm = LLM(
        str(builtin_model_directory()),
        device="cpu",
        skip_tokenizer_init=True,
        num_gpu_blocks_override=50,
        max_model_len=200,
    )
    params = SamplingParams(
        temperature=0,
        max_tokens=3,
        min_tokens=2,
        logit_bias=dict.fromkeys(range(100, 100 + MAX_LOGIT_BIAS), -1.0),
        stop_token_ids=tuple(range(1200, 1200 + MAX_STOP_TOKEN_IDS)),
        bad_words_token_ids=tuple(
            (token_id,) for token_id in range(1400, 1400 + MAX_BAD_SEQUENCES)
        ),
    )
    (output,) = llm.generate([[5, 6, 7]], params, use_tqdm=False)
    assert len(output.outputs[0].token_ids) >= 2
