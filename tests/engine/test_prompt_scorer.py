"""Prompt log probabilities of a real model are transformers', however its prompt is computed."""

from pathlib import Path
from typing import Any

import pytest
import torch

from legato.engine import model_runner
from legato.engine.batch import SequenceOutput, SequenceRequest, TokenLogprobs
from legato.engine.llm import LLM
from legato.engine.sampling_params import SamplingParams
from legato.tests.checkpoints import load_reference, make_checkpoint
from legato.tests.engine.batches import random_tokens

NUM_TOP = 4
SCORED = SamplingParams(
    temperature=0, max_tokens=4, ignore_eos=True, logprobs=1, prompt_logprobs=NUM_TOP
)
PLAIN = SamplingParams(temperature=0, max_tokens=30, ignore_eos=True)
PROMPTS = [random_tokens(length, length) for length in (1, 2, 70, 33, 150)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture(scope="module")
def distributions(directory: Path) -> list[torch.Tensor]:
    """[tokens, vocab] of each prompt, by transformers."""
    reference = load_reference(directory)
    with torch.inference_mode():
        return [reference(torch.tensor([prompt])).logits[0].log_softmax(-1) for prompt in PROMPTS]


def engine(directory: Path, **options: Any) -> LLM:
    sizes = {"block_size": 8, "num_gpu_blocks_override": 100, "skip_tokenizer_init": True}
    return LLM(str(directory), device="cpu", dtype="float32", **(sizes | options))


def scores(llm: LLM, requests: list[tuple[list[int], SamplingParams]]) -> list[Any]:
    """Of each request: its prompt's log probabilities, and its answer's tokens."""
    core = llm.core
    ids = [core.add(SequenceRequest(tuple(prompt), params, 1)) for prompt, params in requests]
    told: dict[int, list[TokenLogprobs]] = {seq_id: [] for seq_id in ids}
    answers: dict[int, list[int]] = {seq_id: [] for seq_id in ids}
    while core.has_work():
        for output in core.step().outputs:
            assert not (answers[output.seq_id] and output.prompt_logprobs)
            told[output.seq_id] += output.prompt_logprobs
            answers[output.seq_id] += output.token_ids
        core.check_integrity()
    return [(told[seq_id], answers[seq_id]) for seq_id in ids]


def assert_right(told: list[TokenLogprobs], prompt: list[int], expected: torch.Tensor) -> None:
    assert [entry.token_id for entry in told] == prompt[1:]
    for entry, row in zip(told, expected[:-1], strict=True):
        assert entry.logprob == pytest.approx(float(row[entry.token_id]), abs=1e-4)
        assert entry.rank == 1 + int((row > row[entry.token_id]).sum())
        likeliest = row.topk(NUM_TOP)
        assert [token_id for token_id, _ in entry.top] == likeliest.indices.tolist()
        assert [value for _, value in entry.top] == pytest.approx(likeliest.values, abs=1e-4)


@pytest.mark.parametrize(
    ("options", "pipeline_depth"),
    [
        ({}, 1),
        ({"max_num_batched_tokens": 16}, 1),
        ({"max_num_batched_tokens": 16}, 2),
        ({"max_num_seqs": 2}, 2),
    ],
    ids=["whole", "chunks", "chunks, two steps under way", "few at a time"],
)
def test_they_are_those_of_transformers(
    directory: Path,
    distributions: list[torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    pipeline_depth: int,
) -> None:
    monkeypatch.setitem(model_runner._PIPELINE_DEPTH, "cpu", pipeline_depth)
    llm = engine(directory, **options)
    requests = [(prompt, SCORED) for prompt in PROMPTS]
    for _ in range(2):  # the second time all of it would be in the prefix cache
        results = scores(llm, requests)
        for (told, answer), prompt, expected in zip(results, PROMPTS, distributions, strict=True):
            assert len(answer) == 4
            assert_right(told, prompt, expected)


def test_a_preemption_loses_nothing_of_them(
    directory: Path, distributions: list[torch.Tensor]
) -> None:
    llm = engine(directory, num_gpu_blocks_override=15, max_num_batched_tokens=4, max_model_len=100)
    _, (told, _) = scores(llm, [(PROMPTS[3], PLAIN), (PROMPTS[2], SCORED)])
    assert llm.core.stats().totals.preemptions == 1
    assert_right(told, PROMPTS[2], distributions[2])


def test_neighbours_in_the_batch_are_unharmed(directory: Path) -> None:
    alone = scores(engine(directory, max_num_batched_tokens=16), [(PROMPTS[3], PLAIN)])
    among = scores(
        engine(directory, max_num_batched_tokens=16),
        [(PROMPTS[3], PLAIN), *((prompt, SCORED) for prompt in PROMPTS)],
    )
    assert among[0] == alone[0]
    assert alone[0][0] == []


def test_other_requests_find_the_blocks_of_a_scored_prompt(directory: Path) -> None:
    llm = engine(directory)
    scored, again = (
        llm.generate(PROMPTS[4], params, use_tqdm=False)[0] for params in (SCORED, PLAIN)
    )
    assert (scored.num_cached_tokens, again.num_cached_tokens) == (0, 144)
    assert scored.prompt_logprobs is not None
    assert scored.prompt_logprobs[0] is None
    assert len(scored.prompt_logprobs) == len(PROMPTS[4])
    assert again.prompt_logprobs is None
    assert scored.outputs[0].token_ids == again.outputs[0].token_ids[:4]


def test_what_was_told_elsewhere_is_not_told_again(directory: Path) -> None:
    llm = engine(directory)
    core = llm.core
    core.add(SequenceRequest(tuple(PROMPTS[2]), SCORED, 1, output_token_ids=(5,)))
    outputs: list[SequenceOutput] = []
    while core.has_work():
        outputs += core.step().outputs
    assert [output.position for output in outputs] == [1, 2, 3]
    assert not any(output.prompt_logprobs for output in outputs)
