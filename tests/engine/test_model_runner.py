"""The runner's logits equal transformers', however the tokens are cut into steps and blocks."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from legato.engine.batch import RunResult, ScheduledBatch
from legato.engine.config import EngineConfig
from legato.engine.kv_cache import allocate_pool
from legato.engine.load_progress import LoadProgress
from legato.engine.model_runner import ModelRunner
from legato.engine.sampling_params import SamplingParams
from legato.tests.checkpoints import Family, greedy_tokens, load_reference, make_checkpoint
from legato.tests.engine.batches import (
    build_runner,
    logits,
    part,
    random_tokens,
    sampling_input,
)

BLOCK_SIZE = 8
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN_ROPE = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 64,
}
LINEAR_ROPE = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("qwen3"), "qwen3")


@pytest.fixture(scope="module")
def reference(directory: Path) -> PreTrainedModel:
    return load_reference(directory)


@pytest.fixture
def runner(directory: Path) -> ModelRunner:
    return build_runner(directory, block_size=BLOCK_SIZE)


def run(runner: ModelRunner, batch: ScheduledBatch) -> RunResult:
    return runner.launch(batch).wait()


@torch.inference_mode()
def expected(reference: PreTrainedModel, tokens: list[int]) -> torch.Tensor:
    """[vocab] logits after the last of `tokens`."""
    last: torch.Tensor = reference(torch.tensor([tokens])).logits[0, -1]
    return last


def assert_close(actual: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(actual, wanted, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("family", "overrides"),
    [
        ("llama", {}),
        ("llama", {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
        ("llama", {"rope_parameters": LLAMA3_ROPE}),
        ("llama", {"rope_parameters": LINEAR_ROPE}),
        ("llama", {"rope_parameters": YARN_ROPE}),
        ("llama", {"num_key_value_heads": 4}),
        ("llama", {"num_key_value_heads": 1}),
        ("qwen3", {"tie_word_embeddings": True}),
        ("qwen3", {"attention_bias": True, "head_dim": 32}),
        ("qwen2", {}),
        ("mistral", {"sliding_window": None}),
    ],
)
def test_prefill_and_decode_give_the_logits_of_transformers(
    tmp_path: Path, family: Family, overrides: dict[str, Any]
) -> None:
    reference = load_reference(make_checkpoint(tmp_path, family, **overrides))
    runner = build_runner(tmp_path, block_size=BLOCK_SIZE)
    tokens, blocks = random_tokens(120), list(range(15))
    assert_close(logits(runner, part(tokens, 0, 119, blocks))[0], expected(reference, tokens[:119]))
    assert_close(logits(runner, part(tokens, 119, 120, blocks))[0], expected(reference, tokens))


@pytest.mark.parametrize("length", [1, 7, 8, 9, 16, 17])
@pytest.mark.parametrize("first", [1, 5, 7, 8, 9])
def test_a_prompt_in_chunks_gives_the_logits_of_the_whole(
    runner: ModelRunner, reference: PreTrainedModel, length: int, first: int
) -> None:
    tokens, blocks = random_tokens(first + length), [9, 2, 30, 4]
    assert_close(
        logits(runner, part(tokens, 0, first, blocks))[0], expected(reference, tokens[:first])
    )
    whole = logits(runner, part(tokens, first, first + length, blocks))[0]
    assert_close(whole, expected(reference, tokens))


def test_a_mixed_batch_with_shuffled_blocks_keeps_sequences_apart(
    runner: ModelRunner, reference: PreTrainedModel
) -> None:
    generator = torch.Generator().manual_seed(3)
    free = torch.randperm(64, generator=generator).tolist()
    cuts = [(0, 20), (16, 17), (5, 30), (0, 1), (8, 9), (7, 8), (0, 8), (24, 33), (15, 16)]
    prompts = [random_tokens(stop, seed) for seed, (_, stop) in enumerate(cuts)]
    tables = [[free.pop() for _ in range(5)] for _ in cuts]
    earlier = [
        part(tokens, 0, start, table)
        for tokens, table, (start, _) in zip(prompts, tables, cuts, strict=True)
        if start
    ]
    logits(runner, *earlier)
    parts = [
        part(tokens, start, stop, table)
        for tokens, table, (start, stop) in zip(prompts, tables, cuts, strict=True)
    ]
    wanted = torch.stack([expected(reference, tokens) for tokens in prompts])
    assert_close(logits(runner, *parts), wanted)


def test_a_long_and_many_short_sequences_share_a_step(directory: Path) -> None:
    reference, runner = load_reference(directory), build_runner(directory, 300, block_size=2)
    prompts = [random_tokens(count, count) for count in (400, 3, 2, 5)]
    tables = [list(range(201))] + [[210 + 5 * i + j for j in range(5)] for i in range(3)]
    pairs = list(zip(prompts, tables, strict=True))
    logits(runner, *(part(tokens, 0, len(tokens) - 1, table) for tokens, table in pairs))
    decoded = logits(
        runner, *(part(tokens, len(tokens) - 1, 500, table) for tokens, table in pairs)
    )
    assert_close(decoded, torch.stack([expected(reference, tokens) for tokens in prompts]))


def test_two_sequences_read_one_cached_prefix(
    runner: ModelRunner, reference: PreTrainedModel
) -> None:
    prefix = random_tokens(16)
    prompts = [prefix + random_tokens(6, 1), prefix + random_tokens(11, 2)]
    tables = [[6, 3, 1], [6, 3, 10, 11]]
    logits(runner, part(prompts[0], 0, 21, tables[0]))
    shared = logits(
        runner, part(prompts[0], 21, 22, tables[0]), part(prompts[1], 16, 27, tables[1])
    )
    assert_close(shared, torch.stack([expected(reference, prompt) for prompt in prompts]))


def test_garbage_in_slots_without_a_token_has_no_influence(
    runner: ModelRunner, reference: PreTrainedModel
) -> None:
    pool = allocate_pool(runner.kv_spec, 16)
    runner.attach_pool(pool)
    tokens, other = random_tokens(11), random_tokens(3, 1)
    logits(runner, part(tokens, 0, 10, [5, 6]), part(other, 0, 2, [7]))
    pool[6, :, :, :, 2:] = float("nan")
    pool[7, :, :, :, 2:] = float("inf")
    pool[:5] = float("nan")
    decoded = logits(runner, part(tokens, 10, 11, [5, 6, 0]), part(other, 2, 3, [7]))
    assert_close(decoded, torch.stack([expected(reference, t) for t in (tokens, other)]))


def test_only_sequences_that_sample_give_a_row(
    runner: ModelRunner, reference: PreTrainedModel
) -> None:
    tokens = [random_tokens(12, seed) for seed in range(3)]
    silent = part(tokens[1], 0, 6, [4, 5])
    silent = type(silent)(silent.seq_id, silent.token_ids, 0, silent.block_table, None)
    batch = ScheduledBatch((part(tokens[0], 0, 12, [0, 1]), silent, part(tokens[2], 0, 3, [8])))
    wanted = [expected(reference, t) for t in (tokens[0], tokens[2][:3])]
    assert_close(runner.logits(batch), torch.stack(wanted))
    sampled = run(runner, batch).sampled
    assert [token.token_id for token in sampled] == [int(row.argmax()) for row in wanted]
    assert run(runner, ScheduledBatch((silent,))) == RunResult(())


def test_greedy_generation_gives_the_tokens_of_transformers(
    runner: ModelRunner, reference: PreTrainedModel
) -> None:
    tokens, blocks = random_tokens(13), [3, 1, 4, 15, 9]
    wanted = tokens + greedy_tokens(reference, tokens, 20)
    start = 0
    for _ in range(20):
        result = run(runner, ScheduledBatch((part(tokens, start, len(tokens), blocks),)))
        start = len(tokens)
        tokens.append(result.sampled[0].token_id)
    assert tokens == wanted


def test_a_seed_gives_the_same_text_in_any_company(runner: ModelRunner) -> None:
    params = SamplingParams(temperature=0.9, top_p=0.95)

    def generate(blocks: list[int], company: int) -> list[int]:
        tokens, start = random_tokens(9), 0
        for position in range(12):
            given = sampling_input(params, seed=42, position=position)
            others = [part(random_tokens(4, i), 0, 3, [40 + i]) for i in range(company)]
            batch = (*others, part(tokens, start, len(tokens), blocks, given))
            start = len(tokens)
            tokens.append(run(runner, ScheduledBatch(batch)).sampled[-1].token_id)
        return tokens

    assert generate([0, 1, 2], 0) == generate([30, 20, 10], 5)


def test_bfloat16_stays_close_to_float32(directory: Path, reference: PreTrainedModel) -> None:
    runner = build_runner(directory, block_size=BLOCK_SIZE, dtype="bfloat16")
    tokens, blocks = random_tokens(30), [0, 1, 2, 3]
    logits(runner, part(tokens, 0, 29, blocks))
    actual, wanted = logits(runner, part(tokens, 29, 30, blocks))[0], expected(reference, tokens)
    assert actual.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(actual, wanted, dim=0) > 0.99


def test_dummy_weights_are_the_same_for_the_same_seed(directory: Path) -> None:
    def run(seed: int) -> torch.Tensor:
        runner = build_runner(directory, load_format="dummy", seed=seed)
        return logits(runner, part(random_tokens(5), 0, 5, [0]))

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


def test_weights_report_their_progress(directory: Path) -> None:
    reports: list[LoadProgress] = []
    config = EngineConfig.from_options({"model": str(directory), "device": "cpu"})
    ModelRunner.build(config, reports.append)
    assert {report.stage for report in reports} == {"loading weights"}
    assert [report.done for report in reports] == sorted(report.done for report in reports)
    assert reports[-1].done == reports[-1].total > 0
