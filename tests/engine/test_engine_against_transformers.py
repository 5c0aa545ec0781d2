"""Greedy tokens of the whole engine against transformers' generate, in float32."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from legato.engine.llm import LLM
from legato.engine.request_output import RequestOutput
from legato.engine.sampling_params import SamplingParams
from legato.tests.checkpoints import load_reference, make_checkpoint
from legato.tests.family_traps import TRAPS

NUM_NEW = 24
WINDOWED = ("mistral", "gemma2")  # in all layers, and in every other one
PARAMS = SamplingParams(temperature=0, max_tokens=NUM_NEW, ignore_eos=True)


def prompts() -> list[list[int]]:
    """Lengths around block borders; the last ones share a long prefix with the one before."""
    draw = torch.Generator().manual_seed(0)
    made = [
        torch.randint(4, 97, (length,), generator=draw).tolist()
        for length in (1, 2, 15, 16, 17, 33, 70)
    ]
    return [*made, [*made[-1][:48], 5, 6, 7], made[-1]]


@pytest.fixture(scope="module", params=["llama", "qwen3", *WINDOWED])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    directory = tmp_path_factory.mktemp(request.param)
    if request.param in WINDOWED:
        return TRAPS[request.param].make(directory)
    return make_checkpoint(directory, request.param, tie_word_embeddings=True)


@pytest.fixture(scope="module")
def expected(checkpoint: Path) -> list[list[int]]:
    model = load_reference(checkpoint)
    return [generate(model, prompt) for prompt in prompts()]


def generate(model: PreTrainedModel, prompt: list[int]) -> list[int]:
    ids = torch.tensor([prompt])
    generated: torch.Tensor = model.generate(  # type: ignore[operator]
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=NUM_NEW,
        do_sample=False,
        eos_token_id=None,
    )
    return [int(token_id) for token_id in generated[0, len(prompt) :]]


def load(checkpoint: Path, **options: Any) -> LLM:
    sizes = {"num_gpu_blocks_override": 128, "max_model_len": 128} | options
    return LLM(str(checkpoint), dtype="float32", skip_tokenizer_init=True, **sizes)


def tokens(outputs: list[RequestOutput]) -> list[list[int]]:
    return [output.outputs[0].token_ids for output in outputs]


def test_all_prompts_in_one_batch(checkpoint: Path, expected: list[list[int]]) -> None:
    assert tokens(load(checkpoint).generate(prompts(), PARAMS, use_tqdm=False)) == expected


def test_one_prompt_at_a_time_without_a_prefix_cache(
    checkpoint: Path, expected: list[list[int]]
) -> None:
    llm = load(checkpoint, enable_prefix_caching=False)
    outputs = [llm.generate(prompt, PARAMS, use_tqdm=False)[0] for prompt in prompts()]
    assert tokens(outputs) == expected
    assert all(output.num_cached_tokens == 0 for output in outputs)


def test_every_prompt_again_with_prefix_hits(checkpoint: Path, expected: list[list[int]]) -> None:
    llm = load(checkpoint)
    llm.generate(prompts(), PARAMS, use_tqdm=False)
    outputs = llm.generate(prompts(), PARAMS, use_tqdm=False)
    assert tokens(outputs) == expected
    assert [output.num_cached_tokens for output in outputs] == [0, 0, 0, 0, 16, 32, 64, 48, 64]


@pytest.mark.parametrize("budget", [1, 7])
def test_chunks_of_a_tiny_budget(checkpoint: Path, expected: list[list[int]], budget: int) -> None:
    llm = load(checkpoint, max_num_batched_tokens=budget, block_size=8)
    assert tokens(llm.generate(prompts(), PARAMS, use_tqdm=False)) == expected


@pytest.mark.parametrize("prefix_caching", [True, False])
def test_preemption_for_lack_of_memory(
    checkpoint: Path, expected: list[list[int]], prefix_caching: bool
) -> None:
    llm = load(
        checkpoint,
        block_size=4,
        num_gpu_blocks_override=32,
        enable_prefix_caching=prefix_caching,
    )
    assert tokens(llm.generate(prompts(), PARAMS, use_tqdm=False)) == expected
    stats = llm.core.stats()
    assert stats.totals.preemptions > 0
    assert stats.num_free_blocks == 32
